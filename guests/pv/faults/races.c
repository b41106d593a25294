/*
 * Several vCPUs that change the same tables at the same time, "rounds=" times: each update succeeds or fails, and what
 * holds of them holds all the while.
 */
#include "pv.h"
#include "random.h"
#include "traps.h"

#define WINDOW 0xffff888000000000
#define PAGES 8

static uint64_t *pages[PAGES];
static uint64_t rounds;
static volatile unsigned int finished;
static unsigned int others;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* errors that the other vCPUs are the cause of */
static void expect_done_or_refused(long result)
{
    if (result != 0)
        expect_equal(result, -XEN_EINVAL);
}

static void mutate(void)
{
    uint64_t state = 0x1234567 + this_vcpu()->id * 0x9e3779b97f4a7c15;

    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t *page = pages[next(&state) % PAGES], *target = pages[next(&state) % PAGES];
        unsigned int slot = next(&state) % 4;
        struct fault fault;

        switch (next(&state) % 8) {
        case 0:
            expect_done_or_refused(remap(page, P | RW));
            break;
        case 1:
            expect_done_or_refused(remap(page, P));
            break;
        case 2:
        case 3:
            expect_done_or_refused(mmuext_op(next(&state) % 4, mfn_of(page), 0));
            break;
        case 4:
            expect_done_or_refused(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(page), 0));
            break;
        case 5:
            expect_done_or_refused(mmu_update((mfn_of(page) << PAGE_SHIFT) + slot * 8,
                                              entry_of(target, next(&state) % 2 ? P | RW : P)));
            break;
        case 6:
            expect_done_or_refused(update_va_mapping((void *)(WINDOW + slot * PAGE_SIZE),
                                                     entry_of(target, P | (next(&state) & RW))));
            break;
        default: /* a store, which may be emulated, fault or just be one */
            catch_fault(fault, *(volatile uint64_t *)&page[slot] = entry_of(target, P | RW));
            if (fault.vector != NO_FAULT)
                expect_equal(fault.vector, PF);
        }
        if (next(&state) % 16 == 0)
            hypercall3(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

static void run_other(void)
{
    mutate();
    for (;;)
        hypercall3(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
}

void test_main(void)
{
    rounds = option("rounds", 2000);
    others = option("vcpus", 2) - 1;
    map_at(WINDOW, 0);
    for (unsigned int i = 0; i < PAGES; i++) {
        pages[i] = allocate_page();
        memset(pages[i], 0, PAGE_SIZE);
    }
    for (unsigned int id = 1; id <= others; id++)
        start_vcpu_at(id, run_other);
    mutate();
    while (finished < others + 1)
        hypercall3(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
}
