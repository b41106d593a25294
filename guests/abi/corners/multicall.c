/* Multicalls: each result in its place, errors included. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/version.h>

#define MANY 1000

static multicall_entry_t calls[MANY];
static char text[9000];

static long multicall(uint64_t address, unsigned long count)
{
    return hypercall3(__HYPERVISOR_multicall, address, count, 0);
}

static void test_results(void)
{
    xen_extraversion_t extra = "";

    calls[0] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .args = { XENVER_version } };
    calls[1] = (multicall_entry_t){ .op = 63 };
    calls[2] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .args = { XENVER_extraversion, (uint64_t)extra } };
    calls[3] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .args = { XENVER_extraversion, 1ul << 63 } };
    expect_equal(multicall((uint64_t)calls, 4), 0);
    expect_equal(calls[0].result, hypercall(__HYPERVISOR_xen_version, XENVER_version, NULL));
    expect_equal(calls[1].result, -XEN_ENOSYS);
    expect_equal(calls[2].result, 0);
    expect(*(volatile char *)extra == '.');
    expect_equal(calls[3].result, -XEN_EFAULT);
}

static void test_many(void)
{
    for (unsigned int i = 0; i < MANY; i++)
        calls[i] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .args = { XENVER_pagesize } };
    expect_equal(multicall((uint64_t)calls, MANY), 0);
    for (unsigned int i = 0; i < MANY; i++)
        expect_equal(calls[i].result, 4096);
}

/* a call that is continued, within a multicall: 9000 bytes for the console are three pieces */
static void test_continuation(void)
{
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    calls[0] = (multicall_entry_t){
        .op = __HYPERVISOR_console_io, .args = { CONSOLEIO_write, sizeof(text), (uint64_t)text },
    };
    calls[1] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .args = { XENVER_pagesize } };
    expect_equal(multicall((uint64_t)calls, 2), 0);
    expect_equal(calls[0].result, 0);
    expect_equal(calls[1].result, 4096);
}

void test_main(void)
{
    test_results();
    test_many();
    test_continuation();
    expect_equal(multicall((uint64_t)calls, 0), 0);
    expect_equal(multicall(1ul << 63, 1), -XEN_EFAULT);
}
