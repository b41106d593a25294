/* An upcall and an interrupt of the local APIC that are pending together: both come, though the guest makes no exit. */
#include "guest.h"

#include "apic.h"
#include "events.h"
#include "traps.h"

#define VECTOR 0x41

static volatile unsigned int interrupts, upcalls;

static void interrupt(struct frame *frame)
{
    (void)frame;
    interrupts++;
    apic_write(APIC_EOI, 0);
}

static void event(evtchn_port_t port)
{
    (void)port;
    upcalls++;
}

void test_main(void)
{
    evtchn_port_t port;

    events_init();
    port = bind_ipi(0);
    set_event_handler(port, event);
    set_handler(VECTOR, interrupt);
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    for (unsigned int round = 1; round <= 10; round++) {
        uint64_t end;

        apic_write(APIC_ICR, ICR_SELF | VECTOR);
        notify(port);
        end = system_time() + SECONDS;
        interrupts_on();
        while ((interrupts < round || upcalls < round) && system_time() < end)
            barrier();
        interrupts_off();
        expect_equal(interrupts, round);
        expect_equal(upcalls, round);
        interrupts = upcalls = round;
    }
}
