/* The hypercall page, which older kernels ask for by an MSR. */
#include "guest.h"

#include <xen/errno.h>

#include "cpu.h"
#include "memory.h"
#include "traps.h"

#define HYPERCALL_MSR 0x40000000

static page_t page;

static long call_page(unsigned int number, uint64_t a1, uint64_t a2)
{
    long result;

    __asm__ volatile("call *%3" : "=a"(result), "+D"(a1), "+S"(a2) : "r"(&page.bytes[number * 32]) : "memory");
    return result;
}

void test_main(void)
{
    /* run something there first: what is translated of it must be forgotten */
    memset(&page, 0xc3, sizeof(page));
    call_page(__HYPERVISOR_xen_version, 0, 0);

    wrmsr(HYPERCALL_MSR, (uint64_t)&page);
    expect_equal(call_page(__HYPERVISOR_xen_version, 0, 0), hypercall(__HYPERVISOR_xen_version, 0, NULL));
    expect_equal(call_page(63, 0, 0), -XEN_ENOSYS);
    expect_fault(call_page(__HYPERVISOR_iret, 0, 0), UD, 0);
    expect_fault(wrmsr(HYPERCALL_MSR, (uint64_t)&page + 8), GP, 0);
    expect_fault(wrmsr(HYPERCALL_MSR, HOLE), GP, 0);
    expect_fault(wrmsr(HYPERCALL_MSR, ~0xffful), GP, 0);
    expect_fault(wrmsr(HYPERCALL_MSR + 1, (uint64_t)&page), GP, 0);
}
