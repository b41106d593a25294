/* Each vCPU has its own x87, SSE and debug registers and its own MSRs, whoever ran in between. */
#include "guest.h"

#include "cpu.h"
#include "smp.h"

#define ROUNDS 200
#define VCPUS 3
#define MSR_KERNEL_GS_BASE 0xc0000102

static volatile unsigned int ready;

static void yield(void)
{
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, NULL);
}

static void work(void)
{
    unsigned int id = this_vcpu()->id;
    uint64_t pattern = 0x0101010101010101 * (id + 1), xmm0[2], xmm15[2], x87;
    uint32_t mxcsr = 0x1f80 | (id % 4) << 13, read_mxcsr;
    uint16_t control = id & 1 ? 0x37f : 0x07f, read_control;

    write_dr0(pattern);
    wrmsr(MSR_KERNEL_GS_BASE, 0x1000 * (id + 1));
    __asm__ volatile("fninit; fildll %0" : : "m"(pattern));
    __asm__ volatile("fldcw %0; ldmxcsr %1" : : "m"(control), "m"(mxcsr));
    __asm__ volatile("movq %0, %%xmm0; movq %0, %%xmm15; punpcklqdq %%xmm15, %%xmm15" : : "r"(pattern));
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    while (ready < VCPUS)
        yield();
    for (unsigned int round = 0; round < ROUNDS; round++) {
        if (round % 3)
            yield();
        else
            for (unsigned int i = 0; i < 5000; i++)
                barrier();
        __asm__ volatile("movdqu %%xmm0, %0; movdqu %%xmm15, %1" : "=m"(xmm0), "=m"(xmm15));
        __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(read_mxcsr), "=m"(read_control));
        __asm__ volatile("fld %%st(0); fistpll %0" : "=m"(x87));
        expect_equal(xmm0[0], pattern);
        expect_equal(xmm0[1], 0);
        expect_equal(xmm15[0], pattern);
        expect_equal(xmm15[1], pattern);
        expect_equal(read_mxcsr, mxcsr);
        expect_equal(read_control, control);
        expect_equal(x87, pattern);
        expect_equal(read_dr0(), pattern);
        expect_equal(rdmsr(MSR_KERNEL_GS_BASE), 0x1000 * (id + 1));
    }
}

void test_main(void)
{
    for (unsigned int id = 1; id < VCPUS; id++)
        start_vcpu(id, work);
    work();
    for (unsigned int id = 1; id < VCPUS; id++)
        wait_until_ended(id);
}
