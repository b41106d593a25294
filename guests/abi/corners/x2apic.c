/* The local APIC by MSRs: the switch to that mode, registers, IPIs between two vCPUs, the timer. */
#include "guest.h"

#include "apic.h"
#include "events.h"
#include "smp.h"
#include "traps.h"

#define TIMER_VECTOR 0x40
#define IPI_VECTOR 0x41
#define ROUNDS 50

static volatile unsigned int timer, arrived[2];
static volatile bool over;

static void interrupt(struct frame *frame)
{
    if (frame->vector == TIMER_VECTOR)
        timer++;
    else
        arrived[this_vcpu()->id]++;
    x2apic_write(APIC_EOI, 0);
}

static void enable_x2apic(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    x2apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
}

static void second(void)
{
    unsigned int seen = 0;

    enable_x2apic();
    expect_equal(x2apic_read(APIC_ID), 2);
    expect_equal(x2apic_read(APIC_LDR), 1u << 2);
    while (!over) {
        wait_for_interrupt();
        for (; seen < arrived[1]; seen++)
            x2apic_write(APIC_ICR, IPI_VECTOR); /* to APIC id 0, in the upper half */
    }
}

static void test_registers(void)
{
    expect_equal(x2apic_read(APIC_ID), 0);
    expect_equal(x2apic_read(APIC_LDR), 1);
    expect_fault(x2apic_write(APIC_ID, 1), GP, 0);
    expect_fault(x2apic_read(APIC_ICR_HIGH), GP, 0);
    expect_fault(x2apic_write(APIC_SVR, 1ul << 32), GP, 0);
    /* out of this mode only by switching the APIC off */
    expect_fault(wrmsr(MSR_APIC_BASE, APIC_PAGE | APIC_BASE_ENABLE), GP, 0);
}

static void test_ipis(void)
{
    start_vcpu(1, second);
    for (unsigned int round = 1; round <= ROUNDS; round++) {
        x2apic_write(APIC_ICR, 2ul << 32 | IPI_VECTOR);
        while (arrived[0] < round)
            wait_for_interrupt();
    }
    expect_equal(arrived[1], ROUNDS);
    over = true;
    x2apic_write(APIC_ICR, ICR_OTHERS | IPI_VECTOR);
    wait_until_ended(1);

    x2apic_write(APIC_SELF_IPI, IPI_VECTOR);
    let_interrupts_in();
    expect(arrived[0] >= ROUNDS + 1);
}

static void test_timer(void)
{
    uint64_t start = system_time();

    x2apic_write(APIC_TIMER_DIVIDE, 0xb);
    x2apic_write(APIC_LVT_TIMER, TIMER_VECTOR);
    x2apic_write(APIC_TIMER_INITIAL, 500000);
    while (!timer)
        wait_for_interrupt();
    expect(system_time() - start >= 5 * MILLISECONDS);
    expect(system_time() - start < 505 * MILLISECONDS);
}

void test_main(void)
{
    shared_info_map();
    set_handler(TIMER_VECTOR, interrupt);
    set_handler(IPI_VECTOR, interrupt);
    enable_x2apic();
    test_registers();
    test_ipis();
    test_timer();
}
