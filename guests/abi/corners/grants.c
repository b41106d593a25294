/* Grants of the domain to itself, in both versions of the table: map, copy, and what is refused. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/grant_table.h>
#include <xen/memory.h>

#include "memory.h"
#include "traps.h"

#define REF 8 /* the first that is not reserved */
#define WINDOW 0x40000000ull /* guest-physical, empty */

static page_t table_page, status_page, granted, other, code;

static long grant_op(unsigned int command, void *argument, unsigned int count)
{
    return hypercall3(__HYPERVISOR_grant_table_op, command, (uint64_t)argument, count);
}

static long map_frame(uint64_t index, void *page)
{
    struct xen_add_to_physmap argument = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_grant_table, .idx = index, .gpfn = gfn_of(page),
    };

    return hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument);
}

static void set_version(uint32_t version)
{
    struct gnttab_set_version argument = { .version = version };

    expect_equal(grant_op(GNTTABOP_set_version, &argument, 1), 0);
    expect_equal(argument.version, version);
}

static void write_entry(unsigned int version, uint16_t flags, const void *frame)
{
    volatile grant_entry_v1_t *v1 = (void *)&table_page;
    volatile grant_entry_v2_t *v2 = (void *)&table_page;
    domid_t self = option("domid", 1);

    if (version == 1) {
        v1[REF].domid = self;
        v1[REF].frame = gfn_of(frame);
        v1[REF].flags = flags;
    } else {
        v2[REF].hdr.domid = self;
        v2[REF].full_page.frame = gfn_of(frame);
        v2[REF].hdr.flags = flags;
    }
}

static uint16_t access_bits(unsigned int version)
{
    if (version == 1)
        return ((volatile grant_entry_v1_t *)&table_page)[REF].flags & (GTF_reading | GTF_writing);
    return ((volatile grant_status_t *)&status_page)[REF];
}

static int16_t map(unsigned int ref, uint64_t address, uint32_t flags, grant_handle_t *handle)
{
    struct gnttab_map_grant_ref argument = {
        .host_addr = address, .flags = flags, .ref = ref, .dom = option("domid", 1),
    };

    expect_equal(grant_op(GNTTABOP_map_grant_ref, &argument, 1), 0);
    *handle = argument.handle;
    return argument.status;
}

static int16_t unmap(grant_handle_t handle, uint64_t address)
{
    struct gnttab_unmap_grant_ref argument = { .host_addr = address, .handle = handle };

    expect_equal(grant_op(GNTTABOP_unmap_grant_ref, &argument, 1), 0);
    return argument.status;
}

static void test_map(unsigned int version)
{
    volatile uint64_t *window = (uint64_t *)WINDOW, *page = (uint64_t *)&granted;
    grant_handle_t handle, second;

    write_entry(version, GTF_permit_access, &granted);
    page[0] = 0x5eed;
    expect_equal(*window, ~0ul);
    expect_equal(map(REF, WINDOW, GNTMAP_host_map, &handle), GNTST_okay);
    expect_equal(access_bits(version), GTF_reading | GTF_writing);
    expect_equal(*window, 0x5eed);
    *window = 0xbeef;
    expect_equal(page[0], 0xbeef);
    expect_equal(unmap(handle, WINDOW), GNTST_okay);
    expect_equal(access_bits(version), 0);
    expect_equal(*window, ~0ul);
    expect_equal(unmap(handle, WINDOW), GNTST_bad_handle);

    /* read only: a store faults */
    write_entry(version, GTF_permit_access | GTF_readonly, &granted);
    expect_equal(map(REF, WINDOW, GNTMAP_host_map, &handle), GNTST_general_error);
    expect_equal(map(REF, WINDOW, GNTMAP_host_map | GNTMAP_readonly, &handle), GNTST_okay);
    expect_equal(access_bits(version), GTF_reading);
    expect_equal(*window, 0xbeef);
    expect_fault(*window = 1, GP, 0);
    expect_equal(page[0], 0xbeef);

    /* twice at once */
    expect_equal(map(REF, WINDOW + PAGE_SIZE, GNTMAP_host_map | GNTMAP_readonly, &second), GNTST_okay);
    expect_equal(window[512], 0xbeef);
    expect_equal(unmap(handle, WINDOW), GNTST_okay);
    expect_equal(access_bits(version), GTF_reading);
    expect_equal(unmap(second, WINDOW + PAGE_SIZE), GNTST_okay);
    expect_equal(access_bits(version), 0);

    write_entry(version, GTF_invalid, &granted);
    expect_equal(map(REF, WINDOW, GNTMAP_host_map, &handle), GNTST_general_error);
    expect_equal(map(1 << 20, WINDOW, GNTMAP_host_map, &handle), GNTST_bad_gntref);
}

static int16_t copy(struct gnttab_copy *operation)
{
    expect_equal(grant_op(GNTTABOP_copy, operation, 1), 0);
    return operation->status;
}

static void test_copy(unsigned int version)
{
    struct gnttab_copy operation = {
        .source = { .u.ref = REF, .domid = option("domid", 1), .offset = 16 },
        .dest = { .u.gmfn = gfn_of(&other), .domid = DOMID_SELF, .offset = 4096 - 100 },
        .len = 100,
        .flags = GNTCOPY_source_gref,
    };

    for (unsigned int i = 0; i < sizeof(granted); i++)
        granted.bytes[i] = i * 7;
    memset(&other, 0, sizeof(other));
    write_entry(version, GTF_permit_access | GTF_readonly, &granted);
    expect_equal(copy(&operation), GNTST_okay);
    expect_equal(memcmp(&other.bytes[4096 - 100], &granted.bytes[16], 100), 0);
    expect_equal(other.bytes[4096 - 101], 0);
    operation.len = 101; /* beyond the page */
    expect_equal(copy(&operation), GNTST_bad_copy_arg);
    operation.flags = 0; /* frames of its own, without a grant */
    operation.source.u.gmfn = gfn_of(&granted);
    operation.source.domid = DOMID_SELF;
    operation.len = 50;
    expect_equal(copy(&operation), GNTST_okay);
    operation.dest.u.gmfn = HOLE >> PAGE_SHIFT;
    expect_equal(copy(&operation), GNTST_bad_page);
}

/* code that was run must be run anew when a copy has changed it */
static void test_copy_over_code(void)
{
    static const uint8_t seven[] = { 0xb8, 7, 0, 0, 0, 0xc3 }, eight[] = { 0xb8, 8, 0, 0, 0, 0xc3 };
    int (*function)(void) = (void *)&code;
    struct gnttab_copy operation = {
        .source = { .u.gmfn = gfn_of(&other), .domid = DOMID_SELF },
        .dest = { .u.gmfn = gfn_of(&code), .domid = DOMID_SELF },
        .len = sizeof(eight),
    };

    memcpy(&code, seven, sizeof(seven));
    memcpy(&other, eight, sizeof(eight));
    expect_equal(function(), 7);
    expect_equal(copy(&operation), GNTST_okay);
    expect_equal(function(), 8);
}

static uint16_t console_flags(void)
{
    return ((volatile grant_entry_v1_t *)&table_page)[GNTTAB_RESERVED_CONSOLE].flags;
}

void test_main(void)
{
    struct gnttab_query_size size = { .dom = DOMID_SELF };

    expect_equal(grant_op(GNTTABOP_query_size, &size, 1), 0);
    expect_equal(size.status, GNTST_okay);
    expect(size.max_nr_frames >= size.nr_frames && size.nr_frames >= 1);

    expect_equal(map_frame(0, &table_page), 0);
    /* the console and xenstore are granted from the start */
    expect_equal(console_flags() & GTF_type_mask, GTF_permit_access);
    test_map(1);
    test_copy(1);

    set_version(2);
    expect_equal(map_frame(XENMAPIDX_grant_table_status, &status_page), 0);
    test_map(2);
    test_copy(2);
    set_version(1);
    expect_equal(console_flags() & GTF_type_mask, GTF_permit_access);
    test_copy_over_code();
    expect_equal(map_frame(size.max_nr_frames, &other), -XEN_EINVAL);
}
