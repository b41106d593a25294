/*
 * Attacks on page tables: whatever would let a guest write one, or reach a frame that is not its own, is refused with
 * Xen's errno, and leaves all as it was.
 */
#include "pv.h"
#include "traps.h"

#define WINDOW 0xffff888000000000

static uint64_t top_address(unsigned int slot)
{
    return (mfn_of((void *)pv_start_info()->pt_base) << PAGE_SHIFT) + slot * 8;
}

static long set_entry(const uint64_t *table, unsigned int index, uint64_t entry)
{
    return mmu_update((mfn_of(table) << PAGE_SHIFT) + index * 8, entry);
}

static void writable_tables(void)
{
    uint64_t *page = allocate_page();

    for (int level = 1; level <= 4; level++) {
        const uint64_t *table = level == 4 ? (uint64_t *)pv_start_info()->pt_base : table_of(page, level);

        expect_equal(update_va_mapping(page, entry_of(table, P | RW)), -XEN_EINVAL);
        expect_equal(mmu_update(entry_address(page), entry_of(table, P | RW)), -XEN_EINVAL);
        expect_fault(*(volatile uint64_t *)table_of(page, 1) = entry_of(table, P | RW), PF, PF_PRESENT | PF_WRITE);
        expect_equal(read_entry(page) & PTE_ADDRESS, entry_of(page, 0));
        expect_equal(update_va_mapping(page, entry_of(table, P)), 0);
        if (level > 1) /* Xen does such a store for the guest where it is one to level 1 */
            expect_fault(*(volatile uint64_t *)page = 0, PF, PF_PRESENT | PF_WRITE);
        expect_equal(update_va_mapping(page, entry_of(table, P) | 0x80), -XEN_EINVAL);
        expect_equal(remap(page, P | RW), 0);
    }
}

static void pages_mapped_writable(void)
{
    uint64_t *page = allocate_page();

    memset(page, 0, PAGE_SIZE);
    for (unsigned int pin = MMUEXT_PIN_L1_TABLE; pin <= MMUEXT_PIN_L4_TABLE; pin++)
        expect_equal(mmuext_op(pin, mfn_of(page), 0), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_NEW_BASEPTR, mfn_of(page), 0), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(page), 0), -XEN_EINVAL);
    expect_equal(set_entry(table_of(page, 2), 511, entry_of(page, P | RW | US)), -XEN_EINVAL);
    expect_equal(hypercall3(__HYPERVISOR_set_gdt, (uint64_t)&(uint64_t){ mfn_of(page) }, 512, 0), -XEN_EINVAL);
}

static void frames_of_others(void)
{
    static const uint64_t numbers[] = { 0, 900, 1ul << 20, 1ul << 35, (1ul << 40) - 1 };
    void *page = allocate_page();
    uint64_t *table = new_table();

    for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++) {
        expect_equal(update_va_mapping(page, numbers[i] << PAGE_SHIFT | P), -XEN_EINVAL);
        expect_equal(update_va_mapping(page, numbers[i] << PAGE_SHIFT | P | RW), -XEN_EINVAL);
        expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, numbers[i], 0), -XEN_EINVAL);
        expect_equal(mmuext_op(MMUEXT_CLEAR_PAGE, numbers[i], 0), -XEN_EINVAL);
        expect_equal(mmuext_op(MMUEXT_COPY_PAGE, mfn_of(page), numbers[i]), -XEN_EINVAL);
        expect_equal(mmu_update(numbers[i] << PAGE_SHIFT, 0), -XEN_EINVAL);
        expect_equal(mmu_update(numbers[i] << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0), -XEN_EINVAL);
        expect_equal(remap(table, P | RW), 0);
        table[3] = numbers[i] << PAGE_SHIFT | P;
        expect_equal(remap(table, P), 0);
        expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, mfn_of(table), 0), -XEN_EINVAL);
    }
}

static void slots_of_xens(void)
{
    uint64_t *table = new_table();

    for (unsigned int slot = 256; slot < 272; slot++) {
        expect_equal(mmu_update(top_address(slot), entry_of(table, P | RW | US)), -XEN_EINVAL);
        expect_equal(mmu_update(top_address(slot), 0), -XEN_EINVAL);
    }
    for (uint64_t address = 0xffff800000000000; address < 0xffff880000000000; address += 1ul << 39)
        expect_equal(update_va_mapping((void *)address, entry_of(table, P)), -XEN_EINVAL);
    expect_equal(update_va_mapping((void *)0x800000000000, entry_of(table, P)), -XEN_EINVAL);
}

/* entries of a new top in Xen's slots are Xen's, whatever they were */
static void slots_of_xens_in_a_new_top(void)
{
    uint64_t *top = allocate_page();

    memcpy(top, (void *)pv_start_info()->pt_base, PAGE_SIZE);
    for (unsigned int slot = 256; slot < 272; slot++)
        top[slot] = entry_of(top, P | RW | US);
    expect_equal(remap(top, P), 0);
    expect_equal(mmuext_op(MMUEXT_PIN_L4_TABLE, mfn_of(top), 0), 0);
    for (unsigned int slot = 256; slot < 272; slot++)
        expect_equal(top[slot], ((uint64_t *)pv_start_info()->pt_base)[slot]);
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(top), 0), 0);
}

static void tables_in_use_let_go_of(void)
{
    const uint64_t *own = (uint64_t *)pv_start_info()->pt_base;
    const uint64_t *low = table_of(own, 1);

    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(low), 0), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(own), 0), 0);
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(own), 0), -XEN_EINVAL);
    expect_equal(remap(own, P | RW), -XEN_EINVAL); /* it is still run on */
    expect_equal(mmuext_op(MMUEXT_PIN_L3_TABLE, mfn_of(own), 0), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_PIN_L4_TABLE, mfn_of(own), 0), 0);
    expect_equal(mmuext_op(MMUEXT_PIN_L4_TABLE, mfn_of(own), 0), -XEN_EINVAL);
}

static void one_frame_at_two_levels(void)
{
    uint64_t *table = new_table(), *other = new_table();

    expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, mfn_of(table), 0), 0);
    for (unsigned int pin = MMUEXT_PIN_L2_TABLE; pin <= MMUEXT_PIN_L4_TABLE; pin++)
        expect_equal(mmuext_op(pin, mfn_of(table), 0), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_PIN_L3_TABLE, mfn_of(other), 0), 0);
    expect_equal(set_entry(other, 0, entry_of(table, P | RW | US)), -XEN_EINVAL); /* level 3 names level 1 */
    expect_equal(set_entry(other, 0, entry_of(other, P | RW | US)), -XEN_EINVAL); /* and itself */
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(table), 0), 0);
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(other), 0), 0);
}

static void pin_storm(void)
{
    uint64_t *tables[8];

    for (unsigned int i = 0; i < ARRAY_SIZE(tables); i++)
        tables[i] = new_table();
    for (unsigned int round = 0; round < 200; round++)
        for (unsigned int i = 0; i < ARRAY_SIZE(tables); i++) {
            expect_equal(mmuext_op(round % 4, mfn_of(tables[i]), 0), 0);
            expect_equal(remap(tables[i], P | RW), -XEN_EINVAL);
            expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(tables[i]), 0), 0);
        }
    for (unsigned int i = 0; i < ARRAY_SIZE(tables); i++)
        expect_equal(remap(tables[i], P | RW), 0);
}

/* what a processor remembers of the upper levels leads to no page that was a table and is written now */
static void tables_that_were(void)
{
    uint64_t address = WINDOW + (1ul << 30), *written = (uint64_t *)(WINDOW + PAGE_SIZE);
    volatile uint64_t *seen = (uint64_t *)address;
    const uint64_t *table;

    map_at(address, entry_of(allocate_page(), P | RW));
    table = table_of((void *)address, 1);
    expect_equal(mmu_update(entry_address(written), entry_of(table, P | RW)), -XEN_EINVAL);
    seen[0] = 1;
    /* and nothing is flushed */
    expect_equal(set_entry(table_of((void *)address, 2), address >> 21 & 511, 0), 0);
    expect_equal(mmu_update(entry_address(written), entry_of(table, P | RW)), 0);
    written[1] = entry_of((void *)pv_start_info()->pt_base, P | RW | US);
    expect_fault(seen[PAGE_SIZE / 8] = 0, PF, PF_WRITE);
    expect_equal(mmu_update(entry_address(written), 0), 0);
}

/* a frame that is given away keeps no use */
static void frames_given_away(void)
{
    uint64_t *page = allocate_page(), *table = new_table(), gone = mfn_of(page), kept = mfn_of(table);
    struct xen_memory_reservation reservation = { .nr_extents = 1, .domid = DOMID_SELF };

    expect_equal(mmuext_op(MMUEXT_PIN_L2_TABLE, kept, 0), 0);
    reservation.extent_start.p = (void *)&kept;
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &reservation), 0);
    reservation.extent_start.p = (void *)&gone;
    expect_equal(remap(page, 0), 0);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &reservation), 1);
    expect_equal(update_va_mapping(page, gone << PAGE_SHIFT | P), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, gone, 0), -XEN_EINVAL);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &reservation), 0);
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, kept, 0), 0);
}

void test_main(void)
{
    map_at(WINDOW, entry_of(allocate_page(), P | RW));
    writable_tables();
    pages_mapped_writable();
    frames_of_others();
    slots_of_xens();
    slots_of_xens_in_a_new_top();
    tables_in_use_let_go_of();
    one_frame_at_two_levels();
    pin_storm();
    tables_that_were();
    frames_given_away();
}
