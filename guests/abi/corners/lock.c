/* LOCK: vCPUs that are preempted anywhere lose no increment, exchange or addition. */
#include "guest.h"

#include "cpu.h"
#include "smp.h"

#define ROUNDS 300000
#define HELPERS 2

static volatile uint64_t incremented, added, compared, under_spinlock;
static volatile uint32_t spinlock;

static void work(void)
{
    for (unsigned int round = 0; round < ROUNDS; round++) {
        uint64_t old;

        __asm__ volatile("lock incq %0" : "+m"(incremented));
        __atomic_fetch_add(&added, 3, __ATOMIC_SEQ_CST);
        do
            old = compared;
        while (!__sync_bool_compare_and_swap(&compared, old, old + 1));
        while (__atomic_exchange_n(&spinlock, 1, __ATOMIC_ACQUIRE))
            pause();
        under_spinlock++;
        __atomic_store_n(&spinlock, 0, __ATOMIC_RELEASE);
    }
}

void test_main(void)
{
    for (unsigned int id = 1; id <= HELPERS; id++)
        start_vcpu(id, work);
    work();
    for (unsigned int id = 1; id <= HELPERS; id++)
        wait_until_ended(id);
    expect_equal(incremented, ROUNDS * (HELPERS + 1));
    expect_equal(added, 3 * ROUNDS * (HELPERS + 1));
    expect_equal(compared, ROUNDS * (HELPERS + 1));
    expect_equal(under_spinlock, ROUNDS * (HELPERS + 1));
}
