/* CPUID: the leaves by which a guest finds Xen, and features that must or must not be there. */
#include "guest.h"

#include <xen/arch-x86/cpuid.h>

#include "cpu.h"

#define XEN_LEAF(n) (XEN_CPUID_FIRST_LEAF + (n))
#define ECX1_X2APIC (1u << 21)
#define ECX1_OSXSAVE (1u << 27)
#define ECX1_HYPERVISOR (1u << 31)
#define EDX1_APIC (1u << 9)
#define ECX81_SVM (1u << 2)
#define EDX81_LONG_MODE (1u << 29)
#define EDX87_INVARIANT_TSC (1u << 8)

static void expect_nothing(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r = cpuid(leaf, subleaf);

    if (r.eax | r.ebx | r.ecx | r.edx)
        fail(__FILE__, __LINE__, "leaf %#x.%u is not empty", leaf, subleaf);
}

static void test_xen_leaves(void)
{
    struct cpuid r = cpuid(XEN_LEAF(0), 0);

    expect_equal(r.eax, XEN_LEAF(XEN_CPUID_MAX_NUM_LEAVES));
    expect_equal(r.ebx, XEN_CPUID_SIGNATURE_EBX);
    expect_equal(r.ecx, XEN_CPUID_SIGNATURE_ECX);
    expect_equal(r.edx, XEN_CPUID_SIGNATURE_EDX);

    expect_equal(cpuid(XEN_LEAF(1), 0).eax, hypercall(__HYPERVISOR_xen_version, 0, NULL));

    r = cpuid(XEN_LEAF(2), XEN_CPUID_SIGNATURE_ECX); /* GRUB leaves in ECX what leaf 0 has answered */
    expect_equal(r.eax, 1); /* one hypercall page, by the MSR: */
    expect_equal(r.ebx, 0x40000000);

    expect(cpuid(XEN_LEAF(3), 0).ecx != 0); /* the TSC's frequency in kHz */
    /* KVM's support for Xen answers the second as it has measured itself */
    expect(cpuid(XEN_LEAF(3), 2).eax / 1000 - cpuid(XEN_LEAF(3), 0).ecx / 1000 + 1 <= 2);

    r = cpuid(XEN_LEAF(4), 0);
    expect(r.eax & XEN_HVM_CPUID_VCPU_ID_PRESENT);
    expect_equal(r.ebx, 0);
    expect(r.eax & XEN_HVM_CPUID_DOMID_PRESENT);
    expect_equal(r.ecx, option("domid", 1));
}

/* in 64-bit mode the upper halves of the registers are cleared */
static void test_upper_halves(void)
{
    uint64_t rax = ~0ul, rbx, rcx = ~0ul, rdx;

    __asm__ volatile("mov $-1, %%rbx; mov $-1, %%rdx; cpuid" : "+a"(rax), "=b"(rbx), "+c"(rcx), "=d"(rdx));
    expect_equal((rax | rbx | rcx | rdx) >> 32, 0);
}

void test_main(void)
{
    struct cpuid r = cpuid(1, 0);

    test_xen_leaves();
    test_upper_halves();
    expect_equal(r.ebx >> 24, 0); /* APIC id */
    expect(r.ecx & ECX1_HYPERVISOR);
    expect(r.ecx & ECX1_X2APIC);
    expect(!(r.ecx & ECX1_OSXSAVE));
    expect(r.edx & EDX1_APIC);
    expect(cpuid(0x80000000, 0).eax >= 0x80000008);
    expect(!(cpuid(0x80000001, 0).ecx & ECX81_SVM));
    expect(cpuid(0x80000001, 0).edx & EDX81_LONG_MODE);
    expect(cpuid(0x80000007, 0).edx & EDX87_INVARIANT_TSC);
    expect_equal(cpuid(0x80000008, 0).eax & 0xffff, 48 << 8 | 40);
    expect_nothing(XEN_LEAF(6), 0);
    expect_nothing(0x40000100, 0); /* no Viridian */
    expect_nothing(0x20000000, 0);
    expect_nothing(0x80000009, 0);
    expect_nothing(0xffffffff, 0xffffffff);
}
