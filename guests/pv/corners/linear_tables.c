/* A top page table that names itself: the kernel sees all its tables, and can write none by it. */
#include "pv.h"
#include "traps.h"

#define SLOT 300ul

void test_main(void)
{
    uint64_t *own = (uint64_t *)pv_start_info()->pt_base, slot = (mfn_of(own) << PAGE_SHIFT) + SLOT * 8;
    volatile uint64_t *top = (uint64_t *)(0xffff000000000000 | SLOT << 39 | SLOT << 30 | SLOT << 21 | SLOT << 12);
    uint64_t *other;

    expect_equal(mmu_update(slot, entry_of(own, P | RW)), -XEN_EINVAL);
    expect_equal(mmu_update(slot, entry_of(own, P)), 0);
    for (unsigned int i = 0; i < 512; i++)
        if (i < 256 || i > 271)
            expect_equal(top[i] & PTE_ADDRESS, own[i] & PTE_ADDRESS);
    expect_fault(top[0] = 0, PF, PF_PRESENT | PF_WRITE);
    /* nor by hypercalls */
    expect_equal(hypercall(__HYPERVISOR_xen_version, 5, (void *)top), -XEN_EFAULT);
    expect_equal(hypercall(__HYPERVISOR_xen_version, 5, (void *)&top[511]), -XEN_EFAULT);
    expect_equal(update_va_mapping((void *)top, 0), -XEN_EINVAL);
    /* what of it is Xen's is nothing that a hypercall reads or writes */
    for (uint64_t i = 256; i < 272; i++) {
        uint64_t *address = (uint64_t *)(0xffff000000000000 | SLOT << 39 | SLOT << 30 | SLOT << 21 | i << 12);

        expect_equal(hypercall(__HYPERVISOR_xen_version, 5, address), -XEN_EFAULT);
        expect_equal(hypercall3(__HYPERVISOR_set_trap_table, (uint64_t)address, 0, 0), -XEN_EFAULT);
        address = (uint64_t *)(0xffff000000000000 | SLOT << 39 | i << 30);
        expect_equal(hypercall3(__HYPERVISOR_set_trap_table, (uint64_t)address, 0, 0), -XEN_EFAULT);
    }
    expect_equal(mmu_update(slot, 0), 0);
    other = new_top();
    expect_equal(mmu_update(slot, entry_of(other, P)), 0);
    expect_equal(mmu_update((mfn_of(other) << PAGE_SHIFT) + SLOT * 8, entry_of(own, P)), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(other), 0), 0);
    expect_equal(remap(other, P | RW), -XEN_EINVAL);
    expect_equal(mmu_update(slot, 0), 0);
    expect_equal(remap(other, P | RW), 0);
}
