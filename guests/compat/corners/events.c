/* Events, time, vCPU operations and multicalls of a 32-bit guest, and its shared info page of 32-bit words. */
#include "guest.h"

#include <xen/event_channel.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#define EINVAL 22
#define ENOENT 2
#define MILLISECONDS 1000000u
#define XEN_HYPERCALL_MSR 0x40000000

static page_t shared_info_page, hypercall_page, info_page;
#define shared ((volatile struct shared_info *)&shared_info_page)

static void share(void)
{
    struct xen_add_to_physmap asked = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_shared_info, .gpfn = frame_of(&shared_info_page),
    };

    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &asked), 0);
}

static uint64_t system_time(void)
{
    volatile struct vcpu_time_info *time = &shared->vcpu_info[0].time;
    uint32_t low, high;
    uint64_t delta;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    delta = ((uint64_t)high << 32 | low) - time->tsc_timestamp;
    delta = time->tsc_shift < 0 ? delta >> -time->tsc_shift : delta << time->tsc_shift;
    return (delta >> 32) * time->tsc_to_system_mul +
        ((delta & 0xffffffff) * time->tsc_to_system_mul >> 32) + time->system_time;
}

static evtchn_port_t loopback(evtchn_port_t *other)
{
    struct evtchn_alloc_unbound unbound = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain bound = { .remote_dom = DOMID_SELF };

    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &unbound), 0);
    bound.remote_port = unbound.port;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, &bound), 0);
    *other = bound.local_port;
    return unbound.port;
}

static bool is_pending(evtchn_port_t port)
{
    return shared->evtchn_pending[port / 32] >> port % 32 & 1;
}

static void test_events(void)
{
    evtchn_port_t other, port = loopback(&other);
    struct evtchn_send send = { .port = other };
    struct evtchn_status status = { .dom = DOMID_SELF, .port = port };
    volatile struct vcpu_info *info = &shared->vcpu_info[0];

    shared->evtchn_pending[port / 32] &= ~(1u << port % 32);
    info->evtchn_pending_sel = 0;
    info->evtchn_upcall_pending = 0;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send), 0);
    expect(is_pending(port));
    expect_equal(info->evtchn_pending_sel, 1u << port / 32);
    expect_equal(info->evtchn_upcall_pending, 1);
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, &status), 0);
    expect_equal(status.status, EVTCHNSTAT_interdomain);
    expect_equal(status.u.interdomain.port, other);

    /* a masked one is unmasked */
    shared->evtchn_pending[port / 32] = 0;
    info->evtchn_pending_sel = 0;
    info->evtchn_upcall_pending = 0;
    shared->evtchn_mask[port / 32] |= 1u << port % 32;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send), 0);
    expect(is_pending(port));
    expect_equal(info->evtchn_pending_sel, 0);
    send.port = port;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, &send), 0);
    expect_equal(info->evtchn_pending_sel, 1u << port / 32);
    shared->evtchn_pending[port / 32] = 0;
}

/* ports of more than one word; the last of them is 1023 */
static void test_all_ports(void)
{
    struct evtchn_alloc_unbound unbound = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain bound = { .remote_dom = DOMID_SELF };
    struct evtchn_send send;
    struct evtchn_close close;
    evtchn_port_t last = 0;

    while (hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &unbound) == 0)
        last = unbound.port;
    expect_equal(last, 1023);
    close.port = last - 1;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_close, &close), 0);
    bound.remote_port = last;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, &bound), 0);
    expect_equal(bound.local_port, last - 1);
    shared->evtchn_pending[last / 32] = 0;
    shared->vcpu_info[0].evtchn_pending_sel = 0;
    send.port = bound.local_port;
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send), 0);
    expect(is_pending(last));
    expect_equal(shared->vcpu_info[0].evtchn_pending_sel, 1u << 31);
}

static void test_time(void)
{
    struct evtchn_bind_virq bind = { .virq = VIRQ_TIMER };
    struct vcpu_set_singleshot_timer timer;
    struct sched_poll poll = { .nr_ports = 1 };
    uint64_t now = system_time();
    evtchn_port_t port;

    expect_equal(shared->wc_version % 2, 0);
    expect(shared->wc_sec > 1700000000u);
    expect(shared->wc_nsec < 1000000000u);
    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &bind), 0);
    port = bind.port;
    timer.timeout_abs_ns = now + 5 * MILLISECONDS;
    timer.flags = 0;
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, (uint32_t)&timer), 0);
    set_xen_guest_handle(poll.ports, &port);
    poll.timeout = now + 10000ull * MILLISECONDS;
    expect_equal(hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll), 0);
    expect(is_pending(port));
    now += 5 * MILLISECONDS;
    expect(system_time() >= now);

    /* the same by set_timer_op, which takes the time in two halves; and to no event at all */
    shared->evtchn_pending[port / 32] &= ~(1u << port % 32);
    now += 10 * MILLISECONDS;
    expect_equal(hypercall3(__HYPERVISOR_set_timer_op, (uint32_t)now, now >> 32, 0), 0);
    expect_equal(hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll), 0);
    expect(is_pending(port));
    expect(system_time() >= now);
    shared->evtchn_pending[port / 32] &= ~(1u << port % 32);
    poll.timeout = now = system_time() + 2 * MILLISECONDS;
    expect_equal(hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll), 0);
    expect(system_time() >= now);
}

static void test_vcpu(void)
{
    struct {
        struct vcpu_runstate_info info;
        uint32_t behind;
    } got = { .behind = 0x1234 };
    static struct {
        struct vcpu_runstate_info info;
        uint32_t behind;
    } area = { .behind = 0x1234 };
    struct vcpu_register_runstate_memory_area runstate;
    struct vcpu_register_vcpu_info place = { .mfn = frame_of(&info_page), .offset = 128 };
    volatile struct vcpu_info *info = (void *)&info_page.bytes[128];

    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 0, 0), 1);
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 1, 0), -ENOENT);
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, (uint32_t)&got), 0);
    expect_equal(got.info.state, RUNSTATE_running);
    expect(got.info.time[RUNSTATE_running] > 0);
    expect_equal(got.info.time[RUNSTATE_offline] >> 32, 0);
    expect_equal(got.behind, 0x1234);

    /* a 32-bit guest sets the pointer and leaves what is beside it */
    runstate.addr.p = 0xdeadbeefull << 32;
    runstate.addr.v = &area.info;
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_runstate_memory_area, 0, (uint32_t)&runstate), 0);
    expect_equal(area.info.state, RUNSTATE_running);
    expect(area.info.state_entry_time >= got.info.state_entry_time);
    expect_equal(area.behind, 0x1234);

    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, (uint32_t)&place), 0);
    expect_equal(info->evtchn_upcall_pending, 1);
    expect_equal(info->evtchn_pending_sel, 0xffffffff);
    expect_equal(info->arch.cr2, 0);
    expect_equal(info->time.tsc_to_system_mul, shared->vcpu_info[0].time.tsc_to_system_mul);
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, (uint32_t)&place), -EINVAL);
}

static void test_multicall(void)
{
    struct {
        struct multicall_entry calls[3];
        uint32_t behind;
    } batch = {
        {
            { .op = __HYPERVISOR_xen_version, .args = { 0 } },
            { .op = __HYPERVISOR_vcpu_op, .args = { VCPUOP_is_up, 1 } },
            { .op = __HYPERVISOR_vcpu_op, .args = { VCPUOP_is_up, 0 } },
        },
        0x1234,
    };

    expect_equal(hypercall3(__HYPERVISOR_multicall, (uint32_t)batch.calls, 3, 0), 0);
    expect_equal(batch.calls[0].result, hypercall(__HYPERVISOR_xen_version, 0, NULL));
    expect_equal(batch.calls[1].result, -ENOENT);
    expect_equal(batch.calls[2].result, 1);
    expect_equal(batch.behind, 0x1234);
}

void test_main(void)
{
    share();
    /* Only now does Xen know that the page is to have 32-bit words. */
    write_msr(XEN_HYPERCALL_MSR, (uint32_t)&hypercall_page);
    expect_equal(hypercall_page.bytes[__HYPERVISOR_xen_version * 32], 0xb8);
    test_events();
    test_time();
    test_multicall();
    test_all_ports();
    test_vcpu();
}
