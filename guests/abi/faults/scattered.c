/* What costs the hypervisor most memory for its tables: pages touched or placed far apart; the command line says which. */
#include "guest.h"

#include <xen/memory.h>

#include "memory.h"

#define GIB (1ull << 30)
#define FRAMES 4096

/* all of the 40-bit addresses, 512 GiB above what is mapped anyway, in pages of 1 GiB */
static void map_all(void)
{
    for (uint64_t part = 0; part < 2; part++) {
        uint64_t *table = allocate_page();

        for (uint64_t i = 0; i < 512; i++)
            table[i] = (part * 512 + i) * GIB | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
        boot_page_table[2 + part] = (uint64_t)table | PTE_PRESENT | PTE_WRITE;
    }
}

/* a load every 2 MiB, as a scan for memory would make */
static void touch(void)
{
    volatile uint64_t *all = (uint64_t *)(2 * 512 * GIB);

    map_all();
    for (uint64_t address = 4 * GIB; address < 100 * GIB; address += 2ull << 20)
        expect_equal(all[address / 8], ~0ul);
}

static void place(uint64_t stride)
{
    unsigned int placed = 0;

    for (uint64_t i = 0; i < FRAMES; i++) {
        struct xen_add_to_physmap argument = {
            .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .idx = 0x1000 + i, .gpfn = 0x200000 + i * stride,
        };

        placed += !hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument);
    }
    printk("placed %u\n", placed);
}

/* each frame where another one was: no two neighbours stay neighbours */
static void permute(void)
{
    for (uint64_t round = 0; round < 2; round++)
        for (uint64_t i = 0; i < FRAMES; i++) {
            struct xen_add_to_physmap argument = {
                .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .idx = 0x1000 + i * 7919 % FRAMES,
                .gpfn = 0x1000 + i,
            };

            hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument);
        }
}

void test_main(void)
{
    switch (*(const char *)start_info()->cmdline_paddr) {
    case 't': touch(); break;
    case 'n': place(1); break;
    case 'f': place(512 * 7); break;
    case 'p': permute(); break;
    }
}
