/* The shared info page may be anywhere; a vcpu_info may be moved out of it, once. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/memory.h>
#include <xen/vcpu.h>

#include "cpu.h"
#include "events.h"
#include "memory.h"
#include "smp.h"

static page_t first, second, info_page;

static long add_to_physmap(unsigned int space, uint64_t index, uint64_t gfn)
{
    struct xen_add_to_physmap argument = { .domid = DOMID_SELF, .space = space, .idx = index, .gpfn = gfn };

    return hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument);
}

static long register_vcpu_info(unsigned int vcpu, uint64_t gfn, uint32_t offset)
{
    struct vcpu_register_vcpu_info argument = { .mfn = gfn, .offset = offset };

    return hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, vcpu, (uint64_t)&argument);
}

static void test_shared_info(void)
{
    volatile struct shared_info *info = (void *)&first;

    memset(&first, 0xaa, sizeof(first));
    memset(&second, 0xaa, sizeof(second));
    expect_equal(add_to_physmap(XENMAPSPACE_shared_info, 0, gfn_of(&first)), 0);
    expect(info->wc_sec > 1500000000);
    expect_equal(info->wc_version & 1, 0);
    expect_equal(info->vcpu_info[0].time.version & 1, 0);

    /* it can be at one place only: where it was is a hole then */
    info->evtchn_mask[63] = 0x5eed;
    expect_equal(add_to_physmap(XENMAPSPACE_shared_info, 0, gfn_of(&second)), 0);
    expect_equal(((volatile struct shared_info *)&second)->evtchn_mask[63], 0x5eed);
    expect_equal(info->evtchn_mask[63], ~0ul);

    expect_equal(add_to_physmap(XENMAPSPACE_shared_info, 1, gfn_of(&first)), -XEN_EINVAL);
    expect_equal(add_to_physmap(XENMAPSPACE_shared_info, 0, ~0ul), -XEN_EINVAL);
}

static void test_vcpu_info(void)
{
    struct vcpu_info *info = (struct vcpu_info *)&info_page.bytes[4096 - sizeof(struct vcpu_info)];
    evtchn_port_t port;

    events_init();
    uint64_t before = system_time();
    expect_equal(register_vcpu_info(0, gfn_of(&info_page), 4096 - 56), -XEN_EINVAL);
    expect_equal(register_vcpu_info(0, gfn_of(&info_page), 4), -XEN_EINVAL);
    expect_equal(register_vcpu_info(0, HOLE >> PAGE_SHIFT, 0), -XEN_EINVAL);
    expect_equal(register_vcpu_info(0, ~0ul, 0), -XEN_EINVAL);
    expect_equal(register_vcpu_info(17, gfn_of(&info_page), 0), -XEN_ENOENT);
    expect_equal(register_vcpu_info(0, gfn_of(&info_page), 4096 - 64), 0);
    expect_equal(register_vcpu_info(0, gfn_of(&info_page), 0), -XEN_EINVAL);

    this_vcpu()->info = info;
    expect(system_time() >= before);
    /* whatever was pending is to be looked at again */
    expect_equal(info->evtchn_upcall_pending, 1);
    expect_equal(info->evtchn_pending_sel, ~0ul);
    handle_events();
    expect_equal(info->evtchn_upcall_pending, 0);

    port = bind_ipi(0);
    expect_equal(notify(port), 0);
    expect_equal(info->evtchn_upcall_pending, 1);
    expect_equal(info->evtchn_pending_sel, 1ul << port / 64);
    expect(is_pending(port));
}

void test_main(void)
{
    test_shared_info();
    test_vcpu_info();
}
