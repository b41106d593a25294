/* Grants in page tables, of the guest to itself: mapped, unmapped, replaced, copied, given away. */
#include "pv.h"
#include "traps.h"

#include <xen/grant_table.h>

#define WINDOW 0xffff888000000000

static grant_entry_v1_t *entries;
static domid_t self;
static uint8_t *granted;

static void grant(unsigned int ref, uint16_t flags, const void *page)
{
    entries[ref].domid = self;
    entries[ref].frame = mfn_of(page);
    __atomic_store_n(&entries[ref].flags, flags, __ATOMIC_SEQ_CST);
}

static struct gnttab_map_grant_ref map(unsigned int ref, uint32_t flags, uint64_t address)
{
    struct gnttab_map_grant_ref op = { .host_addr = address, .flags = flags, .ref = ref, .dom = self };

    expect_equal(hypercall5(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, (uint64_t)&op, 1, 0, 0), 0);
    return op;
}

static int unmap(uint32_t handle, uint64_t address, uint64_t bus_address)
{
    struct gnttab_unmap_grant_ref op = { .host_addr = address, .dev_bus_addr = bus_address, .handle = handle };

    expect_equal(hypercall5(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, (uint64_t)&op, 1, 0, 0), 0);
    return op.status;
}

static int replace(uint32_t handle, uint64_t address, uint64_t new_address)
{
    struct gnttab_unmap_and_replace op = { .host_addr = address, .new_addr = new_address, .handle = handle };

    expect_equal(hypercall5(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_and_replace, (uint64_t)&op, 1, 0, 0), 0);
    return op.status;
}

static void set_up(void)
{
    xen_pfn_t frame = 0;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1, .frame_list.p = &frame };

    self = option("domid", 7);
    expect_equal(hypercall5(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, (uint64_t)&setup, 1, 0, 0), 0);
    expect_equal(setup.status, GNTST_okay);
    entries = (grant_entry_v1_t *)(WINDOW + 0x10000);
    map_at((uint64_t)entries, frame << PAGE_SHIFT | P | RW);
    granted = allocate_page();
    map_at(WINDOW, 0);
}

static void by_address(void)
{
    volatile uint8_t *window = (uint8_t *)WINDOW;
    struct gnttab_map_grant_ref op;

    granted[5] = 55;
    grant(8, GTF_permit_access, granted);
    op = map(8, GNTMAP_host_map, WINDOW);
    expect_equal(op.status, GNTST_okay);
    expect_equal(op.dev_bus_addr, mfn_of(granted) << PAGE_SHIFT);
    expect_equal(window[5], 55);
    window[6] = 66;
    expect_equal(granted[6], 66);
    expect_equal(entries[8].flags, GTF_permit_access | GTF_reading | GTF_writing);
    expect_fault(__asm__ volatile("call *%0" : : "r"(window)), PF, PF_PRESENT | PF_FETCH);
    expect_equal(unmap(op.handle, WINDOW + PAGE_SIZE, 0), GNTST_general_error);
    expect_equal(unmap(op.handle, WINDOW, 0), GNTST_okay);
    expect_equal(unmap(op.handle, WINDOW, 0), GNTST_bad_handle);
    expect_equal(entries[8].flags, GTF_permit_access);
    expect_fault((void)window[5], PF, 0);
}

static void read_only(void)
{
    struct gnttab_map_grant_ref op;

    grant(9, GTF_permit_access | GTF_readonly, granted);
    expect_equal(map(9, GNTMAP_host_map, WINDOW).status, GNTST_general_error);
    op = map(9, GNTMAP_host_map | GNTMAP_readonly, WINDOW);
    expect_equal(op.status, GNTST_okay);
    expect_equal(entries[9].flags, GTF_permit_access | GTF_readonly | GTF_reading);
    expect_fault(*(volatile uint8_t *)WINDOW = 1, PF, PF_PRESENT | PF_WRITE);
    expect_equal(unmap(op.handle, WINDOW, 0), GNTST_okay);
}

static void by_entry(void)
{
    uint64_t slot = entry_address((void *)WINDOW);
    struct gnttab_map_grant_ref op;

    op = map(8, GNTMAP_host_map | GNTMAP_contains_pte | 5 << 16, slot);
    expect_equal(op.status, GNTST_okay);
    expect_equal(*(volatile uint8_t *)(WINDOW + 5), 55);
    expect_equal(read_entry((void *)WINDOW) & 0xe00, 5 << 9);
    expect_equal(replace(op.handle, slot, WINDOW + 0x3000), GNTST_general_error);
    expect_equal(unmap(op.handle, slot, 0), GNTST_okay);
    expect_equal(read_entry((void *)WINDOW), 0);
    expect_equal(map(8, GNTMAP_host_map | GNTMAP_contains_pte, slot + 4).status, GNTST_general_error);
    expect_equal(map(8, GNTMAP_host_map | GNTMAP_contains_pte, mfn_of(granted) << 12).status, GNTST_general_error);
    expect_equal(map(8, GNTMAP_host_map | GNTMAP_contains_pte, 1ul << 50).status, GNTST_general_error);
    expect_equal(map(8, GNTMAP_host_map, 0xffff800000000000).status, GNTST_general_error);
    expect_equal(map(8, GNTMAP_host_map, 1ul << 60).status, GNTST_general_error);
    expect_equal(map(8, 0, WINDOW).status, GNTST_bad_gntref);
    expect_equal(map(1 << 20, GNTMAP_host_map, WINDOW).status, GNTST_bad_gntref);
    expect_equal(entries[8].flags, GTF_permit_access);
}

static void for_devices(void)
{
    struct gnttab_map_grant_ref op;

    op = map(8, GNTMAP_host_map | GNTMAP_device_map, WINDOW);
    expect_equal(op.status, GNTST_okay);
    expect_equal(unmap(op.handle, WINDOW, 0), GNTST_okay);
    expect_equal(entries[8].flags, GTF_permit_access | GTF_reading | GTF_writing);
    expect_equal(unmap(op.handle, 0, 0x1000), GNTST_general_error);
    expect_equal(unmap(op.handle, 0, op.dev_bus_addr), GNTST_okay);
    expect_equal(unmap(op.handle, 0, op.dev_bus_addr), GNTST_bad_handle);
    expect_equal(entries[8].flags, GTF_permit_access);
}

static void replaced(void)
{
    uint8_t *page = allocate_page();
    struct gnttab_map_grant_ref op;

    page[0] = 77;
    op = map(8, GNTMAP_host_map, WINDOW);
    expect_equal(replace(op.handle, WINDOW, (uint64_t)page), GNTST_okay);
    expect_equal(*(volatile uint8_t *)WINDOW, 77);
    expect_fault(*(volatile uint8_t *)page, PF, 0);
    expect_equal(entries[8].flags, GTF_permit_access);
    expect_equal(update_va_mapping((void *)WINDOW, 0), 0);
    expect_equal(remap(page, P | RW), 0);
}

/* what is granted and mapped is no table, nor is a table what is granted */
static void tables(void)
{
    uint64_t *table = new_table();
    struct gnttab_map_grant_ref op;

    grant(10, GTF_permit_access, table);
    op = map(10, GNTMAP_host_map | GNTMAP_readonly, WINDOW);
    expect_equal(op.status, GNTST_okay);
    expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, mfn_of(table), 0), -XEN_EINVAL);
    expect_equal(unmap(op.handle, WINDOW, 0), GNTST_okay);
    expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, mfn_of(table), 0), 0);
    expect_equal(map(10, GNTMAP_host_map, WINDOW).status != GNTST_okay, 1);
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(table), 0), 0);
}

static int copy(uint64_t from, unsigned int from_flag, uint64_t to, unsigned int to_flag)
{
    struct gnttab_copy op = {
        .source = { .u.gmfn = from, .domid = from_flag ? self : DOMID_SELF, .offset = 16 },
        .dest = { .u.gmfn = to, .domid = to_flag ? self : DOMID_SELF, .offset = 32 },
        .len = 8, .flags = from_flag | to_flag,
    };

    expect_equal(hypercall5(__HYPERVISOR_grant_table_op, GNTTABOP_copy, (uint64_t)&op, 1, 0, 0), 0);
    return op.status;
}

static void copies(void)
{
    uint64_t *from = allocate_page(), *to = allocate_page();

    from[2] = 0x1234;
    expect_equal(copy(mfn_of(from), 0, mfn_of(to), 0), GNTST_okay);
    expect_equal(to[4], 0x1234);
    from[2] = 0x5678;
    grant(11, GTF_permit_access, to);
    expect_equal(copy(mfn_of(from), 0, 11, GNTCOPY_dest_gref), GNTST_okay);
    expect_equal(to[4], 0x5678);
    expect_equal(copy(mfn_of(from), 0, mfn_of((void *)pv_start_info()->pt_base), 0) != GNTST_okay, 1);
    expect_equal(copy(1ul << 40, 0, mfn_of(to), 0) != GNTST_okay, 1);
}

static int transfer(uint64_t mfn, domid_t domid, unsigned int ref)
{
    struct gnttab_transfer op = { .mfn = mfn, .domid = domid, .ref = ref };

    expect_equal(hypercall5(__HYPERVISOR_grant_table_op, GNTTABOP_transfer, (uint64_t)&op, 1, 0, 0), 0);
    return op.status;
}

static void transfers(void)
{
    void *page = allocate_page();
    uint64_t mfn = mfn_of(page);

    expect_equal(transfer(mfn, self, 12), GNTST_general_error); /* it is mapped */
    expect_equal(transfer(1ul << 40, self, 12), GNTST_bad_page);
    expect_equal(remap(page, 0), 0);
    entries[12].domid = self;
    entries[12].flags = GTF_accept_transfer;
    expect_equal(transfer(mfn, self, 12), GNTST_okay);
    expect_equal(entries[12].flags, GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed);
    expect_equal(entries[12].frame, mfn);
    expect_equal(remap(page, P | RW), 0);
    expect_equal(remap(page, 0), 0);
    expect_equal(transfer(mfn, 99, 12), GNTST_bad_domain);
    expect_equal(remap(page, P | RW), -XEN_EINVAL); /* gone, as on Xen */
    expect_equal(transfer(mfn, 99, 12), GNTST_bad_page);
}

void test_main(void)
{
    set_up();
    by_address();
    read_only();
    by_entry();
    for_devices();
    replaced();
    tables();
    copies();
    transfers();
}
