/* Frames, and page tables made from them. */
#include "pv.h"

#define POOL_PAGES 512

static page_t pool[POOL_PAGES];
static unsigned int used;

void *allocate_pages(unsigned int count)
{
    if (used + count > POOL_PAGES) {
        printk("FAILURE: the pool of pages is empty\n");
        shutdown(SHUTDOWN_crash);
    }
    used += count;
    return &pool[used - count];
}

long update_va_mapping(const void *address, uint64_t entry)
{
    return hypercall3(__HYPERVISOR_update_va_mapping, (uint64_t)address, entry, UVMF_INVLPG | UVMF_ALL);
}

long mmu_update(uint64_t pointer, uint64_t value)
{
    struct mmu_update request = { pointer, value };

    return hypercall5(__HYPERVISOR_mmu_update, (uint64_t)&request, 1, 0, DOMID_SELF, 0);
}

long mmuext_op(unsigned int command, uint64_t argument1, uint64_t argument2)
{
    struct mmuext_op request = { .cmd = command, .arg1.mfn = argument1, .arg2.src_mfn = argument2 };

    return hypercall5(__HYPERVISOR_mmuext_op, (uint64_t)&request, 1, 0, DOMID_SELF, 0);
}

long remap(const void *page, uint64_t flags)
{
    return update_va_mapping(page, flags ? entry_of(page, flags) : 0);
}

/* Not all engines can have it where Xen has it. */
static const uint64_t *machine_to_physical(void)
{
    static struct xen_machphys_mapping mapping;

    if (!mapping.v_start && hypercall3(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, (uint64_t)&mapping, 0)) {
        printk("FAILURE: no machine-to-physical table\n");
        shutdown(SHUTDOWN_crash);
    }
    return (const uint64_t *)mapping.v_start;
}

static const uint64_t *table_at(uint64_t mfn)
{
    return address_of(machine_to_physical()[mfn]);
}

const uint64_t *table_of(const void *address, int level)
{
    const uint64_t *table = (const uint64_t *)pv_start_info()->pt_base;

    for (int shift = 39; shift > 12 * level - 3 * (level - 1); shift -= 9) {
        uint64_t entry = table[(uint64_t)address >> shift & 511];

        if (!(entry & P))
            return NULL;
        table = table_at((entry & PTE_ADDRESS) >> PAGE_SHIFT);
    }
    return table;
}

uint64_t entry_address(const void *address)
{
    const uint64_t *table = table_of(address, 1);

    return table ? (mfn_of(table) << PAGE_SHIFT) + ((uint64_t)address >> 12 & 511) * 8 : 0;
}

uint64_t read_entry(const void *address)
{
    const uint64_t *table = table_of(address, 1);

    return table ? table[(uint64_t)address >> 12 & 511] : 0;
}

uint64_t *new_table(void)
{
    uint64_t *page = allocate_page();

    memset(page, 0, PAGE_SIZE);
    expect_equal(remap(page, P), 0);
    return page;
}

void map_at(uint64_t address, uint64_t entry)
{
    for (int level = 4; level > 1; level--) {
        const uint64_t *table = table_of((void *)address, level);
        unsigned int index = address >> (12 + 9 * (level - 1)) & 511;

        if (!(table[index] & P))
            expect_equal(mmu_update((mfn_of(table) << PAGE_SHIFT) + index * 8, entry_of(new_table(), P | RW | US)), 0);
    }
    expect_equal(update_va_mapping((void *)address, entry), 0);
}

uint64_t *new_top(void)
{
    uint64_t *top = allocate_page();
    const uint64_t *own = (const uint64_t *)pv_start_info()->pt_base;

    memcpy(top, own, PAGE_SIZE);
    memset(top + 256, 0, 16 * 8);
    expect_equal(remap(top, P), 0);
    expect_equal(mmuext_op(MMUEXT_PIN_L4_TABLE, mfn_of(top), 0), 0);
    return top;
}
