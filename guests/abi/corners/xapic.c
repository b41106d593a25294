/* The local APIC by its page: registers, the timer, IPIs, priorities. */
#include "guest.h"

#include "apic.h"
#include "events.h"
#include "traps.h"

#define TIMER_VECTOR 0x40
#define LOW_VECTOR 0x41
#define HIGH_VECTOR 0x61
#define LVT_MASKED (1u << 16)
#define LVT_PERIODIC (1u << 17)
#define DIVIDE_BY_1 0xb
#define TICKS_PER_MILLISECOND 100000 /* 100 MHz, as Xen's */

static volatile unsigned int count[256];
static volatile unsigned int order[16], taken;

static void interrupt(struct frame *frame)
{
    count[frame->vector]++;
    order[taken++ % ARRAY_SIZE(order)] = frame->vector;
    apic_write(APIC_EOI, 0);
}

static void test_registers(void)
{
    expect_equal(apic_read(APIC_ID), 0);
    expect_equal(apic_read(APIC_VERSION) & 0xff, 0x14);
    expect_equal(apic_read(APIC_VERSION) >> 16 & 0xff, 5);
    expect_equal(apic_read(APIC_SVR) & APIC_SVR_ENABLE, 0);
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    apic_write(APIC_LDR, 0x01000000);
    expect_equal(apic_read(APIC_LDR), 0x01000000);
    apic_write(APIC_TPR, 0x35);
    expect_equal(apic_read(APIC_TPR), 0x35);
    expect_equal(apic_read(APIC_PPR), 0x35);
    apic_write(APIC_TPR, 0);
    expect_equal(rdmsr(MSR_APIC_BASE) & ~0xffful, APIC_PAGE);
    expect_fault(wrmsr(MSR_APIC_BASE, 0xfed00000 | APIC_BASE_ENABLE), GP, 0);
    expect_fault(rdmsr(0x802), GP, 0); /* not in this mode */
}

static void test_ipis(void)
{
    apic_write(APIC_ICR_HIGH, 0);
    apic_write(APIC_ICR, LOW_VECTOR); /* to itself, by id */
    apic_write(APIC_ICR, ICR_SELF | HIGH_VECTOR);
    let_interrupts_in();
    expect_equal(taken, 2);
    expect_equal(order[0], HIGH_VECTOR);
    expect_equal(order[1], LOW_VECTOR);

    apic_write(APIC_TPR, 0x50);
    apic_write(APIC_ICR, ICR_SELF | LOW_VECTOR);
    apic_write(APIC_ICR, ICR_SELF | HIGH_VECTOR);
    let_interrupts_in();
    expect_equal(count[HIGH_VECTOR], 2);
    expect_equal(count[LOW_VECTOR], 1);
    apic_write(APIC_TPR, 0);
    let_interrupts_in();
    expect_equal(count[LOW_VECTOR], 2);
    /* logical destination, flat */
    apic_write(APIC_DFR, ~0u);
    apic_write(APIC_ICR_HIGH, 0x01000000);
    apic_write(APIC_ICR, 1u << 11 | LOW_VECTOR);
    let_interrupts_in();
    expect_equal(count[LOW_VECTOR], 3);
}

static void test_timer(void)
{
    uint64_t start = system_time();

    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, TIMER_VECTOR);
    apic_write(APIC_TIMER_INITIAL, 10 * TICKS_PER_MILLISECOND);
    expect(apic_read(APIC_TIMER_CURRENT) <= 10 * TICKS_PER_MILLISECOND);
    while (!count[TIMER_VECTOR])
        wait_for_interrupt();
    expect(system_time() - start >= 10 * MILLISECONDS);
    expect(system_time() - start < 510 * MILLISECONDS);
    expect_equal(apic_read(APIC_TIMER_CURRENT), 0);

    start = system_time();
    apic_write(APIC_LVT_TIMER, TIMER_VECTOR | LVT_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, 2 * TICKS_PER_MILLISECOND);
    while (count[TIMER_VECTOR] < 6)
        wait_for_interrupt();
    expect(system_time() - start >= 10 * MILLISECONDS);
    apic_write(APIC_LVT_TIMER, TIMER_VECTOR | LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 0);
}

void test_main(void)
{
    shared_info_map();
    set_handler(TIMER_VECTOR, interrupt);
    set_handler(LOW_VECTOR, interrupt);
    set_handler(HIGH_VECTOR, interrupt);
    test_registers();
    test_ipis();
    test_timer();
}
