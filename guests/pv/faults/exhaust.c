/* Takes all there is of what a domain has a limited number of; what is left over is refused, and all can be given back. */
#include "pv.h"
#include "traps.h"

#include <xen/event_channel.h>
#include <xen/grant_table.h>

#define WINDOW 0xffff888000000000
#define TABLES 0xffff900000000000

static void event_channels(void)
{
    evtchn_alloc_unbound_t allocate = { .dom = DOMID_SELF, .remote_dom = 0 };
    unsigned int first, count = 0;

    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &allocate), 0);
    first = allocate.port;
    while (!hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &allocate))
        count++;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &allocate), -XEN_ENOSPC);
    expect(count > 900);
    for (unsigned int port = first; port <= first + count; port++) {
        evtchn_close_t close = { .port = port };

        expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_close, &close), 0);
    }
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &allocate), 0);
}

static int grant_op(unsigned int command, void *op)
{
    expect_equal(hypercall5(__HYPERVISOR_grant_table_op, command, (uint64_t)op, 1, 0, 0), 0);
    return 0;
}

/* every grant mapped as often as one can be; handles by the thousand */
static void grants(void)
{
    static xen_pfn_t frames[64];
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 64, .frame_list.p = frames };
    struct gnttab_map_grant_ref map = { .flags = GNTMAP_device_map, .ref = 8, .dom = option("domid", 7) };
    grant_entry_v1_t *entries = (grant_entry_v1_t *)WINDOW;
    unsigned int count = 0;

    grant_op(GNTTABOP_setup_table, &setup);
    expect_equal(setup.status, GNTST_okay);
    setup.nr_frames = 65;
    grant_op(GNTTABOP_setup_table, &setup);
    expect_equal(setup.status, GNTST_general_error);
    map_at(WINDOW, frames[0] << PAGE_SHIFT | P | RW);
    for (unsigned int ref = 8; ref < 40; ref++) {
        entries[ref] = (grant_entry_v1_t){ GTF_permit_access, map.dom, mfn_of(allocate_page()) };
        map.ref = ref;
        do {
            grant_op(GNTTABOP_map_grant_ref, &map);
            count += map.status == GNTST_okay;
        } while (map.status == GNTST_okay);
    }
    expect_equal(count, 32 * 128); /* as often as Xen's counters take it */
    for (unsigned int handle = 0; handle < count; handle++) {
        struct gnttab_unmap_grant_ref unmap = { .handle = handle, .dev_bus_addr = 0 };

        map.ref = 8 + handle / 128;
        unmap.dev_bus_addr = (uint64_t)entries[map.ref].frame << PAGE_SHIFT;
        grant_op(GNTTABOP_unmap_grant_ref, &unmap);
        expect_equal(unmap.status, GNTST_okay);
    }
    expect_equal(entries[8].flags, GTF_permit_access);
}

/* all of memory that is not the image's as page tables, one behind the other, then given back */
static void page_tables(void)
{
    uint64_t pfn = pfn_of(&entry_address), total = pv_start_info()->nr_pages, first, pinned = 0;

    while (pfn < total && read_entry(address_of(pfn)) & P)
        pfn++;
    first = pfn;
    for (; pfn < total; pfn++) {
        expect_equal(mmuext_op(MMUEXT_CLEAR_PAGE, p2m[pfn], 0), 0);
        expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, p2m[pfn], 0), 0);
        pinned++;
    }
    expect(pinned > 1000);
    for (pfn = first; pfn < total; pfn++) {
        struct xen_memory_reservation give = { .nr_extents = 1, .domid = DOMID_SELF };
        xen_pfn_t frame = p2m[pfn];

        give.extent_start.p = &frame;
        expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &give), 0);
        expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, frame, 0), 0);
    }
}

/* memory: all that may be given away, and back */
static void memory(void)
{
    uint64_t pfn, total = pv_start_info()->nr_pages;
    domid_t domid = DOMID_SELF;
    long before = hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &domid), given = 0;
    xen_pfn_t frame = 0;
    struct xen_memory_reservation one = { .nr_extents = 1, .domid = DOMID_SELF, .extent_start.p = &frame };

    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap, &one), 0);
    for (pfn = total - 512; pfn < total; pfn++) {
        frame = p2m[pfn];
        given += hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &one);
    }
    expect_equal(given, 512);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &domid), before - 512);
    while (frame = total, hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap, &one))
        given--;
    expect_equal(given, 0);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &domid), before);
}

void test_main(void)
{
    event_channels();
    grants();
    page_tables();
    memory();
}
