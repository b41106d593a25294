/* Hypercalls on lists of absurd lengths, one after the other for ever; the command line says which. */
#include "guest.h"

#include <xen/grant_table.h>
#include <xen/memory.h>

#include "memory.h"

#define FREE_FRAMES 0x1000 /* 16 MiB: behind all that is in use */

static page_t page;
static multicall_entry_t calls[512];
static uint64_t gfns[512];

#define LIST FREE_VIRTUAL /* 512 GiB, of which every page is the same one */

static void map_list(void)
{
    uint64_t below = (uint64_t)&page;

    for (unsigned int level = 0; level < 3; level++) {
        uint64_t *table = allocate_page();

        for (unsigned int i = 0; i < 512; i++)
            table[i] = below | PTE_PRESENT | PTE_WRITE;
        below = (uint64_t)table;
    }
    boot_page_table[LIST >> 39] = below | PTE_PRESENT | PTE_WRITE;
}

static void console(void)
{
    memset(&page, 0, sizeof(page));
    hypercall3(__HYPERVISOR_console_io, CONSOLEIO_write, ~0u, LIST);
}

static void memory(unsigned int command)
{
    struct xen_memory_reservation argument = { .nr_extents = ~0ul >> 8, .domid = DOMID_SELF };

    for (unsigned int i = 0; i < 512; i++)
        ((uint64_t *)&page)[i] = FREE_FRAMES + i;
    argument.extent_start.p = (void *)LIST;
    hypercall(__HYPERVISOR_memory_op, command, &argument);
}

static void populate(void) { memory(XENMEM_populate_physmap); }

static void decrease(void)
{
    memory(XENMEM_decrease_reservation);
    memory(XENMEM_populate_physmap);
}

static void range(void)
{
    struct xen_add_to_physmap argument = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_range, .size = 4000, .idx = FREE_FRAMES,
        .gpfn = FREE_FRAMES + 1,
    };

    hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument);
}

static void grants(unsigned int command)
{
    memset(&page, 0, sizeof(page));
    hypercall3(__HYPERVISOR_grant_table_op, command, LIST, 0x7fffffff);
}

static void grant_copy(void) { grants(GNTTABOP_copy); }
static void grant_map(void) { grants(GNTTABOP_map_grant_ref); }
static void grant_unmap(void) { grants(GNTTABOP_unmap_grant_ref); }

static void multicall(void)
{
    for (unsigned int i = 0; i < 4096 / sizeof(calls[0]); i++)
        ((multicall_entry_t *)&page)[i] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version };
    hypercall3(__HYPERVISOR_multicall, LIST, ~0ul, 0);
}

/* calls of which none is continued, and each takes long */
static void multicall_of_batches(void)
{
    static struct xen_memory_reservation argument[2];

    for (unsigned int i = 0; i < ARRAY_SIZE(gfns); i++)
        gfns[i] = FREE_FRAMES + i;
    for (unsigned int i = 0; i < 2; i++)
        argument[i] = (struct xen_memory_reservation){
            .extent_start.p = (void *)gfns, .nr_extents = ARRAY_SIZE(gfns), .domid = DOMID_SELF,
        };
    for (unsigned int i = 0; i < ARRAY_SIZE(calls); i++)
        calls[i] = (multicall_entry_t){
            .op = __HYPERVISOR_memory_op,
            .args = { i & 1 ? XENMEM_populate_physmap : XENMEM_decrease_reservation, (uint64_t)&argument[0] },
        };
    hypercall3(__HYPERVISOR_multicall, (uint64_t)calls, ARRAY_SIZE(calls), 0);
}

static void multicall_of_large_extents(void)
{
    static struct xen_memory_reservation argument;
    static uint64_t gfn = FREE_FRAMES;

    argument = (struct xen_memory_reservation){
        .extent_start.p = (void *)&gfn, .nr_extents = 1, .extent_order = 9, .domid = DOMID_SELF,
    };
    for (unsigned int i = 0; i < ARRAY_SIZE(calls); i++)
        calls[i] = (multicall_entry_t){
            .op = __HYPERVISOR_memory_op,
            .args = { i & 1 ? XENMEM_populate_physmap : XENMEM_decrease_reservation, (uint64_t)&argument },
        };
    hypercall3(__HYPERVISOR_multicall, (uint64_t)calls, ARRAY_SIZE(calls), 0);
}

static const struct {
    const char *name;
    void (*go)(void);
} ways[] = {
#define WAY(name) { #name, name }
    WAY(console), WAY(populate), WAY(decrease), WAY(range), WAY(grant_copy), WAY(grant_map), WAY(grant_unmap),
    WAY(multicall), WAY(multicall_of_batches), WAY(multicall_of_large_extents),
};

void test_main(void)
{
    const char *which = (const char *)start_info()->cmdline_paddr;

    for (unsigned int i = 0; i < ARRAY_SIZE(ways); i++)
        if (strlen(which) == strlen(ways[i].name) && !memcmp(which, ways[i].name, strlen(which))) {
            map_list();
            printk("going\n");
            for (;;)
                ways[i].go();
        }
    fail(__FILE__, __LINE__, "no such batch: %s", which);
}
