/* Event channels over the 2-level ABI. */
#include "guest.h"

#include <xen/memory.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#include "cpu.h"
#include "events.h"
#include "memory.h"
#include "traps.h"

#define PORTS 4096

struct shared_info shared_info __attribute__((aligned(4096)));

static void (*event_handlers[PORTS])(evtchn_port_t port);

void shared_info_map(void)
{
    struct xen_add_to_physmap argument = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_shared_info, .gpfn = gfn_of(&shared_info),
    };

    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument), 0);
    for (unsigned int id = 0; id < MAX_VCPUS; id++)
        vcpus[id].info = &shared_info.vcpu_info[id];
}

static void upcall(struct frame *frame)
{
    (void)frame;
    handle_events();
}

void events_init(void)
{
    shared_info_map();
    set_handler(UPCALL_VECTOR, upcall);
    expect_equal(set_hvm_param(HVM_PARAM_CALLBACK_IRQ,
                               (uint64_t)HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | UPCALL_VECTOR), 0);
}

void set_event_handler(evtchn_port_t port, void (*handler)(evtchn_port_t port))
{
    event_handlers[port] = handler;
}

void handle_events(void)
{
    struct vcpu_info *info = this_vcpu()->info;
    uint64_t selected, pending;

    info->evtchn_upcall_pending = 0;
    selected = __atomic_exchange_n(&info->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
    for (; selected; selected &= selected - 1) {
        unsigned int word = __builtin_ctzl(selected);

        pending = shared_info.evtchn_pending[word] & ~shared_info.evtchn_mask[word];
        for (; pending; pending &= pending - 1) {
            evtchn_port_t port = word * 64 + __builtin_ctzl(pending);

            clear_pending(port);
            if (event_handlers[port])
                event_handlers[port](port);
        }
    }
}

evtchn_port_t bind_virq(unsigned int virq, unsigned int vcpu)
{
    struct evtchn_bind_virq argument = { .virq = virq, .vcpu = vcpu };

    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &argument), 0);
    unmask(argument.port);
    return argument.port;
}

evtchn_port_t bind_ipi(unsigned int vcpu)
{
    struct evtchn_bind_ipi argument = { .vcpu = vcpu };

    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, &argument), 0);
    unmask(argument.port);
    return argument.port;
}

long notify(evtchn_port_t port)
{
    struct evtchn_send argument = { .port = port };

    return hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &argument);
}

long unmask(evtchn_port_t port)
{
    struct evtchn_unmask argument = { .port = port };

    return hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, &argument);
}

void wait_for_event(evtchn_port_t port)
{
    struct sched_poll argument = { .nr_ports = 1 };

    set_xen_guest_handle(argument.ports, &port);
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &argument);
    clear_pending(port);
}

bool is_pending(evtchn_port_t port)
{
    return shared_info.evtchn_pending[port / 64] >> port % 64 & 1;
}

void clear_pending(evtchn_port_t port)
{
    __atomic_fetch_and(&shared_info.evtchn_pending[port / 64], ~(1ul << port % 64), __ATOMIC_SEQ_CST);
}

void mask(evtchn_port_t port)
{
    __atomic_fetch_or(&shared_info.evtchn_mask[port / 64], 1ul << port % 64, __ATOMIC_SEQ_CST);
}

uint64_t hvm_param(unsigned int index)
{
    struct xen_hvm_param argument = { .domid = DOMID_SELF, .index = index };

    expect_equal(hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, &argument), 0);
    return argument.value;
}

long set_hvm_param(unsigned int index, uint64_t value)
{
    struct xen_hvm_param argument = { .domid = DOMID_SELF, .index = index, .value = value };

    return hypercall(__HYPERVISOR_hvm_op, HVMOP_set_param, &argument);
}

uint64_t system_time(void)
{
    volatile struct vcpu_time_info *time = &this_vcpu()->info->time;
    uint32_t version;
    uint64_t now;

    do {
        version = time->version;
        barrier();
        uint64_t delta = rdtsc() - time->tsc_timestamp;
        int shift = time->tsc_shift;

        delta = shift < 0 ? delta >> -shift : delta << shift;
        now = time->system_time + (uint64_t)((unsigned __int128)delta * time->tsc_to_system_mul >> 32);
        barrier();
    } while (version & 1 || version != time->version);
    return now;
}
