/* grant_table_op of a 32-bit guest: the table's frames, copies and mappings. */
#include "guest.h"

#include <xen/grant_table.h>
#include <xen/memory.h>

#define EINVAL 22
#define FIRST 0x80000u /* where the table is mapped, in frames */
#define MAPPED (FIRST + 16)

static page_t source, target;
#define table ((volatile struct grant_entry_v1 *)(FIRST * PAGE_SIZE))

static int grant_table_op(unsigned int command, void *argument, unsigned int count)
{
    return hypercall3(__HYPERVISOR_grant_table_op, command, (uint32_t)argument, count);
}

static void test_table(void)
{
    struct gnttab_set_version version = { .version = 1 };
    struct gnttab_query_size size = { .dom = DOMID_SELF, .status = 5 };
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 2, .status = 5 };
    struct xen_add_to_physmap asked = { .domid = DOMID_SELF, .space = XENMAPSPACE_grant_table };
    xen_pfn_t frames[3] = { 1, 1, 0x1234 };

    expect_equal(grant_table_op(GNTTABOP_set_version, &version, 1), 0);
    expect_equal(version.version, 1);
    for (unsigned int i = 0; i < 2; i++) {
        asked.idx = i;
        asked.gpfn = FIRST + i;
        expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &asked), 0);
    }
    set_xen_guest_handle(setup.frame_list, frames);
    expect_equal(grant_table_op(GNTTABOP_setup_table, &setup, 1), 0);
    expect_equal(setup.status, GNTST_okay);
    expect_equal(frames[0], FIRST);
    expect_equal(frames[1], FIRST + 1);
    expect_equal(frames[2], 0x1234);
    expect_equal(grant_table_op(GNTTABOP_query_size, &size, 1), 0);
    expect_equal(size.status, GNTST_okay);
    expect_equal(size.nr_frames, 2);
    expect_equal(size.max_nr_frames, 64);
    setup.nr_frames = 3;
    expect_equal(grant_table_op(GNTTABOP_setup_table, &setup, 1), 0);
    expect_equal(frames[2], 0xffffffff); /* it is nowhere */
    expect_equal(grant_table_op(GNTTABOP_setup_table, &setup, 2), -EINVAL);
}

static void test_copies(void)
{
    static struct gnttab_copy copies[200];

    memset(&source, 0x5a, PAGE_SIZE);
    table[9].frame = frame_of(&source);
    table[9].domid = 7;
    table[9].flags = GTF_permit_access | GTF_readonly;
    for (unsigned int i = 0; i < 200; i++)
        copies[i] = (struct gnttab_copy) {
            .source = { .u.ref = 9, .domid = DOMID_SELF, .offset = i },
            .dest = { .u.gmfn = frame_of(&target), .domid = DOMID_SELF, .offset = 2 * i },
            .len = 1, .flags = GNTCOPY_source_gref, .status = 5,
        };
    expect_equal(grant_table_op(GNTTABOP_copy, copies, 200), 0);
    for (unsigned int i = 0; i < 200; i++) {
        expect_equal(copies[i].status, GNTST_okay);
        expect_equal(target.bytes[2 * i], 0x5a);
        expect_equal(target.bytes[2 * i + 1], 0);
    }
}

static void test_mapping(void)
{
    struct gnttab_map_grant_ref map = {
        .host_addr = (uint64_t)MAPPED * PAGE_SIZE, .flags = GNTMAP_host_map | GNTMAP_readonly, .ref = 9,
        .dom = 7, .status = 5,
    };
    struct gnttab_unmap_grant_ref unmap = { .host_addr = (uint64_t)MAPPED * PAGE_SIZE, .status = 5 };

    expect_equal(grant_table_op(GNTTABOP_map_grant_ref, &map, 1), 0);
    expect_equal(map.status, GNTST_okay);
    expect_equal(*(volatile uint8_t *)(MAPPED * PAGE_SIZE), 0x5a);
    unmap.handle = map.handle;
    expect_equal(grant_table_op(GNTTABOP_unmap_grant_ref, &unmap, 1), 0);
    expect_equal(unmap.status, GNTST_okay);
}

static void test_version_2(void)
{
    struct gnttab_set_version version = { .version = 2 };
    struct gnttab_get_status_frames status = { .nr_frames = 1, .dom = DOMID_SELF, .status = 5 };
    uint64_t frames[2] = { 1, 0x1234 };

    table[9].flags = 0;
    expect_equal(grant_table_op(GNTTABOP_set_version, &version, 1), 0);
    expect_equal(version.version, 2);
    set_xen_guest_handle(status.frame_list, frames);
    expect_equal(grant_table_op(GNTTABOP_get_status_frames, &status, 1), 0);
    expect_equal(status.status, GNTST_okay);
    expect_equal(frames[0] >> 32, 0xffffffff);
    expect_equal(frames[1], 0x1234);
}

void test_main(void)
{
    test_table();
    test_copies();
    test_mapping();
    test_version_2();
}
