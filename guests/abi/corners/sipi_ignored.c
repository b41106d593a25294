/* A start-up IPI is for those that wait for it: a vCPU that runs goes on. */
#include "guest.h"

#include "apic.h"
#include "smp.h"

static volatile unsigned int entered, rounds;
static volatile bool over;

static void entry(void)
{
    entered++;
    while (!over) {
        rounds++;
        pause();
    }
}

static void send_startup(void)
{
    unsigned int before = rounds;

    apic_write(APIC_ICR_HIGH, 2u << 24);
    apic_write(APIC_ICR, ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
    while (rounds - before < 1000)
        pause();
}

static void end_it(void)
{
    over = true;
    wait_until_ended(1);
    over = false;
}

void test_main(void)
{
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    start_vcpu(1, entry);
    send_startup();
    end_it();
    start_vcpu_sipi(1, entry);
    send_startup();
    end_it();
    expect_equal(entered, 2);
}
