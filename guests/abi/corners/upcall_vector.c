/* Upcalls as an interrupt of the local APIC (HVMOP_set_evtchn_upcall_vector): the next waits for the EOI. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/hvm/hvm_op.h>

#include "apic.h"
#include "events.h"
#include "traps.h"

#define VECTOR 0x51
#define WORD (VECTOR / 32 * 0x10)
#define BIT (1u << VECTOR % 32)

static volatile unsigned int upcalls;

static long set_upcall_vector(uint32_t vcpu, uint8_t vector)
{
    struct xen_hvm_evtchn_upcall_vector argument = { .vcpu = vcpu, .vector = vector };

    return hypercall(__HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector, &argument);
}

static void upcall(struct frame *frame)
{
    (void)frame;
    upcalls++;
    handle_events();
}

void test_main(void)
{
    evtchn_port_t port;

    shared_info_map();
    set_handler(VECTOR, upcall);
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    expect_equal(set_upcall_vector(0, 15), -XEN_EINVAL);
    expect_equal(set_upcall_vector(99, VECTOR), -XEN_ENOENT);
    port = bind_ipi(0);
    notify(port);
    expect_equal(apic_read(APIC_IRR + WORD), 0);
    expect_equal(set_upcall_vector(0, VECTOR), 0); /* what was pending before comes, too */
    expect_equal(apic_read(APIC_IRR + WORD), BIT);
    let_interrupts_in();
    expect_equal(upcalls, 1);
    apic_write(APIC_EOI, 0);

    upcalls = 0;
    notify(port);
    expect_equal(apic_read(APIC_IRR + WORD), BIT);
    let_interrupts_in();
    expect_equal(upcalls, 1);
    expect_equal(apic_read(APIC_IRR + WORD), 0);
    expect_equal(apic_read(APIC_ISR + WORD), BIT);

    notify(port); /* still in service: pending only */
    let_interrupts_in();
    expect_equal(upcalls, 1);
    apic_write(APIC_EOI, 0);
    let_interrupts_in();
    expect_equal(upcalls, 2);
    apic_write(APIC_EOI, 0);
    expect_equal(apic_read(APIC_ISR + WORD), 0);

    apic_write(APIC_TPR, 0x60); /* priority above */
    notify(port);
    let_interrupts_in();
    expect_equal(upcalls, 2);
    apic_write(APIC_TPR, 0x40);
    let_interrupts_in();
    expect_equal(upcalls, 3);
    apic_write(APIC_EOI, 0);
}
