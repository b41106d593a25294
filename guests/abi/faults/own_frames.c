/* Frames that the hypervisor writes to are moved, granted, given back and replaced while it does. */
#include "guest.h"

#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/vcpu.h>
#include <xen/hvm/params.h>

#include "cpu.h"
#include "events.h"
#include "memory.h"
#include "random.h"
#include "smp.h"

static page_t info_page, runstate_page, time_page, grant_page, control_page, array_page, spare;

static long memory_op(unsigned int command, uint64_t *gfns, unsigned int count)
{
    struct xen_memory_reservation argument = { .nr_extents = count, .domid = DOMID_SELF };

    set_xen_guest_handle(argument.extent_start, gfns);
    return hypercall(__HYPERVISOR_memory_op, command, &argument);
}

static long move(unsigned int space, uint64_t index, uint64_t gfn)
{
    struct xen_add_to_physmap argument = { .domid = DOMID_SELF, .space = space, .idx = index, .gpfn = gfn };

    return hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument);
}

static void remove(const void *page)
{
    struct xen_remove_from_physmap argument = { .domid = DOMID_SELF, .gpfn = gfn_of(page) };

    hypercall(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, &argument);
}

static void use_everything(void)
{
    evtchn_port_t port = bind_ipi(0);
    struct vcpu_set_singleshot_timer timer = { .timeout_abs_ns = 1 };
    struct evtchn_close closing = { .port = port };

    notify(port);
    unmask(port);
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, (uint64_t)&timer);
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, NULL);
    notify(hvm_param(HVM_PARAM_CONSOLE_EVTCHN));
    notify(hvm_param(HVM_PARAM_STORE_EVTCHN));
    hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_close, &closing);
}

/* do the same to every frame in turn */
static void for_each(void (*act)(const void *page))
{
    const void *pages[] = {
        &info_page, &runstate_page, &time_page, &grant_page, &control_page, &array_page, &shared_info,
        page_at(hvm_param(HVM_PARAM_CONSOLE_PFN)), page_at(hvm_param(HVM_PARAM_STORE_PFN)),
    };

    for (unsigned int i = 0; i < ARRAY_SIZE(pages); i++) {
        act(pages[i]);
        use_everything();
    }
}

static void move_away(const void *page) { move(XENMAPSPACE_gmfn, gfn_of(page), (HOLE >> 12) + gfn_of(page) % 64); }
static void move_over(const void *page) { move(XENMAPSPACE_gmfn, gfn_of(&spare), gfn_of(page)); }

static void give_back(const void *page)
{
    uint64_t gfn = gfn_of(page);

    memory_op(XENMEM_decrease_reservation, &gfn, 1);
}

static void take_again(const void *page)
{
    uint64_t gfn = gfn_of(page);

    memory_op(XENMEM_populate_physmap, &gfn, 1);
}

static void map_grant_over(const void *page)
{
    struct gnttab_map_grant_ref argument = {
        .host_addr = (uint64_t)page, .flags = GNTMAP_host_map, .ref = 8, .dom = option("domid", 1),
    };
    volatile grant_entry_v1_t *entry = (volatile grant_entry_v1_t *)&grant_page + 8;

    entry->domid = argument.dom;
    entry->frame = gfn_of(&spare);
    entry->flags = GTF_permit_access;
    hypercall3(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, (uint64_t)&argument, 1);
}

void test_main(void)
{
    struct vcpu_register_vcpu_info info = { .mfn = gfn_of(&info_page), .offset = 64 };
    struct vcpu_register_runstate_memory_area runstate = { .addr.p = (uint64_t)&runstate_page };
    struct vcpu_register_time_memory_area time = { .addr.p = (uint64_t)&time_page };
    struct evtchn_init_control control = { .control_gfn = gfn_of(&control_page) };
    struct evtchn_expand_array array = { .array_gfn = gfn_of(&array_page) };

    events_init();
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, (uint64_t)&info);
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_runstate_memory_area, 0, (uint64_t)&runstate);
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_time_memory_area, 0, (uint64_t)&time);
    expect_equal(move(XENMAPSPACE_grant_table, 0, gfn_of(&grant_page)), 0);
    if (option("fifo", 0)) {
        expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_init_control, &control), 0);
        expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_expand_array, &array), 0);
    }
    for (unsigned int round = 0; round < 3; round++) {
        for_each(move_away);
        for_each(take_again);
        for_each(map_grant_over);
        for_each(give_back);
        for_each(take_again);
        for_each(move_over);
        for_each(remove);
        for_each(take_again);
        move(XENMAPSPACE_shared_info, 0, gfn_of(&info_page));
        move(XENMAPSPACE_grant_table, 0, gfn_of(&shared_info));
        use_everything();
        move(XENMAPSPACE_grant_table, 0, gfn_of(&grant_page));
        move(XENMAPSPACE_shared_info, 0, gfn_of(&shared_info));
        use_everything();
    }
}
