/* CPUID faulting: a kernel's choice, which hits programs only, by instruction and by Xen's forced emulation. */
#include "pv.h"
#include "traps.h"

#define PLATFORM_INFO 0xce
#define MISC_FEATURES_ENABLES 0x140

USER_CODE(user_cpuid, "xor %eax, %eax; cpuid; int3");
USER_CODE(user_forced, "xor %eax, %eax; ud2; .ascii \"xen\"; cpuid; int3");

static uint64_t rdmsr(uint32_t number)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (uint64_t)high << 32 | low;
}

static void wrmsr(uint32_t number, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static struct fault in_user_mode(const uint8_t *code)
{
    struct iret_frame frame = program_frame(FLAT_CS64, code);
    struct fault fault;

    catch_fault(fault, iret(&frame));
    return fault;
}

static void expect_faults(uint64_t vector, unsigned int cpuid_at, unsigned int forced_at)
{
    struct fault fault = in_user_mode(user_cpuid);

    expect_equal(fault.vector, vector);
    expect_equal(fault.rip, (uint64_t)user_cpuid + cpuid_at);
    fault = in_user_mode(user_forced);
    expect_equal(fault.vector, vector);
    expect_equal(fault.rip, (uint64_t)user_forced + forced_at);
}

void test_main(void)
{
    uint64_t *top = new_top();
    uint32_t leaf = 0;

    expect_equal(mmu_update((mfn_of(top) << PAGE_SHIFT), ((uint64_t *)pv_start_info()->pt_base)[0]), 0);
    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(top), 0), 0);
    expect_equal(rdmsr(PLATFORM_INFO), 1ul << 31);
    expect_equal(rdmsr(MISC_FEATURES_ENABLES), 0);
    expect_faults(BP, 5, 10);
    expect_fault(wrmsr(MISC_FEATURES_ENABLES, 2), GP, 0);
    wrmsr(MISC_FEATURES_ENABLES, 1);
    expect_equal(rdmsr(MISC_FEATURES_ENABLES), 1);
    expect_faults(GP, 2, 7);
    __asm__ volatile("cpuid" : "+a"(leaf) : : "ebx", "ecx", "edx");
    expect_equal(leaf != 0, 1);
    wrmsr(MISC_FEATURES_ENABLES, 0);
    expect_faults(BP, 5, 10);
}
