/* MSRs that are not there raise #GP; EFER is as a guest without SVM sees it; SVM's instructions are undefined. */
#include "guest.h"

#include "cpu.h"
#include "traps.h"

#define EFER_SCE (1u << 0)
#define EFER_LME (1u << 8)
#define EFER_SVME (1u << 12)
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC 0x10

static const uint32_t absent[] = {
    0x11, 0x9f, 0x1000, 0x40000001, 0x40000200, 0x4b564d00, 0xc0000105, 0xc0010117, 0xc0012000, 0xffffffff,
};

static void test_efer(void)
{
    uint64_t efer = rdmsr(MSR_EFER);

    expect_equal(efer & EFER_SVME, 0);
    expect_fault(wrmsr(MSR_EFER, efer | EFER_SVME), GP, 0);
    /* a guest that writes what it read keeps its hypercalls */
    wrmsr(MSR_EFER, efer);
    expect(hypercall(__HYPERVISOR_xen_version, 0, NULL) > 0);
    expect_fault(wrmsr(MSR_EFER, efer & ~EFER_LME), GP, 0); /* while paging is on */
    expect_fault(wrmsr(MSR_EFER, efer | 1ul << 40), GP, 0);
    wrmsr(MSR_EFER, efer & ~EFER_SCE);
    expect_equal(rdmsr(MSR_EFER), efer & ~EFER_SCE);
    wrmsr(MSR_EFER, efer);
    expect_equal(rdmsr(MSR_EFER), efer);
}

static void test_svm(void)
{
    expect_fault(__asm__ volatile("vmrun" : : "a"(0)), UD, 0);
    expect_fault(__asm__ volatile("vmload" : : "a"(0)), UD, 0);
    expect_fault(__asm__ volatile("vmsave" : : "a"(0)), UD, 0);
    expect_fault(__asm__ volatile("stgi"), UD, 0);
    expect_fault(__asm__ volatile("clgi"), UD, 0);
    expect_fault(__asm__ volatile("skinit" : : "a"(0)), UD, 0);
    expect_fault(__asm__ volatile("invlpga %%eax, %%ecx" : : "a"(0), "c"(0)), UD, 0);
}

void test_main(void)
{
    for (unsigned int i = 0; i < ARRAY_SIZE(absent); i++) {
        expect_fault(rdmsr(absent[i]), GP, 0);
        expect_fault(wrmsr(absent[i], 0), GP, 0);
    }
    test_svm();
    expect_fault(__asm__ volatile("monitor" : : "a"(0), "c"(0), "d"(0)), UD, 0);
    expect_fault(__asm__ volatile("xsetbv" : : "a"(1), "c"(0), "d"(0)), UD, 0);
    expect_fault(__asm__ volatile("vmcall"), UD, 0);

    wrmsr(MSR_KERNEL_GS_BASE, 0x123456789abc);
    wrmsr(MSR_GS_BASE, (uint64_t)&absent);
    expect_equal(rdmsr(MSR_KERNEL_GS_BASE), 0x123456789abc);
    expect_equal(rdmsr(MSR_GS_BASE), (uint64_t)&absent);
    __asm__ volatile("swapgs");
    expect_equal(rdmsr(MSR_KERNEL_GS_BASE), (uint64_t)&absent);
    expect_equal(rdmsr(MSR_GS_BASE), 0x123456789abc);
    uint64_t before = rdtsc(), tsc = rdmsr(MSR_TSC), after = rdtsc();
    expect(before <= tsc && tsc <= after);
    test_efer();
}
