/* Gates and callbacks: who may raise what, what is masked meanwhile, and what frames tell. */
#include "pv.h"
#include "traps.h"

#include <xen/nmi.h>
#include <xen/vcpu.h>
#include <xen/version.h>

/* run code in user mode, on page tables that show the kernel, too, up to its next trap */
#define in_user_mode(result, cs_, code_) do { \
        struct iret_frame frame_ = program_frame(cs_, (const void *)(code_)); \
        catch_fault(result, iret(&frame_)); \
    } while (0)

USER_CODE(user_int3, "int3");
USER_CODE(user_int80, "int $0x80");
USER_CODE(user_int81, "int $0x81");
USER_CODE(user_int14, "int $14");
USER_CODE(user_syscall, "syscall");
USER_CODE(user_store, "mov %eax, 0x1000");
USER_CODE(user_load, "mov 0xffffffff, %eax");
USER_CODE(user_cli, "cli");
USER_CODE(user_hypercall, "mov $17, %eax; syscall");

static void from_programs(void)
{
    struct fault fault;

    in_user_mode(fault, FLAT_CS64, user_int3);
    expect_equal(fault.vector, BP);
    expect_equal(fault.rip, (uint64_t)user_int3 + 1);
    expect_equal(fault.cs & 3, 3);
    in_user_mode(fault, FLAT_CS64, user_int80);
    expect_equal(fault.vector, 0x80);
    expect_equal(fault.rip, (uint64_t)user_int80 + 2);
    in_user_mode(fault, FLAT_CS64, user_int81);
    expect_equal(fault.vector, GP);
    expect_equal(fault.error_code, 0x81 * 8 + 2);
    expect_equal(fault.rip, (uint64_t)user_int81);
    in_user_mode(fault, FLAT_CS64, user_int14);
    expect_equal(fault.vector, GP);
    expect_equal(fault.error_code, 14 * 8 + 2);
    in_user_mode(fault, FLAT_CS64, user_cli);
    expect_equal(fault.vector, GP);
    expect_equal(fault.error_code, 0);
    in_user_mode(fault, FLAT_CS64, user_syscall);
    expect_equal(fault.vector, CALLBACK(syscall));
    expect_equal(fault.rip, (uint64_t)user_syscall + 2);
    in_user_mode(fault, FLAT_CS64, user_hypercall); /* not from a program */
    expect_equal(fault.vector, CALLBACK(syscall));
    in_user_mode(fault, FLAT_CS64, user_store);
    expect_equal(fault.vector, PF);
    expect_equal(fault.error_code, PF_USER | PF_WRITE);
    expect_equal(fault.cr2, 0x1000);
    in_user_mode(fault, FLAT_CS64, 0x2000);
    expect_equal(fault.vector, PF);
    expect_equal(fault.error_code & ~(uint64_t)PF_FETCH, PF_USER);
    in_user_mode(fault, FLAT_CS64, 1ul << 62); /* not an address */
    expect_equal(fault.vector == GP || fault.vector == PF, 1);
    in_user_mode(fault, 0x1003, user_int3); /* no such segment */
    expect_equal(fault.vector, GP);
    expect_equal(fault.error_code, 0x1000);
}

/* what runs below 4 GiB, in 32 bits */
static void from_32_bit_programs(void)
{
    static const struct { uint8_t code[8]; uint64_t vector, rip, error_code; } tests[] = {
        { { 0x90, 0xcd, 0x80 }, 0x80, 3, 0 },
        { { 0x90, 0xcd, 0x81 }, GP, 1, 0x81 * 8 + 2 },
        { { 0x0f, 0x05 }, CALLBACK(syscall32), 2, 0 },
        { { 0x0f, 0x34 }, CALLBACK(sysenter), 0, 0 },
        { { 0xcc }, BP, 1, 0 },
        { { 0xb0, 0x7f, 0x04, 0x01, 0xce }, OF, 5, 0 },
        { { 0xa1, 0x00, 0x10, 0x00, 0x00 }, PF, 0, PF_USER },
    };
    uint64_t address = 0x400000;
    uint8_t *page = allocate_page();
    struct fault fault;

    map_at(address, entry_of(page, P | RW | US));
    __asm__ volatile("mov %0, %%ds" : : "r"(FLAT_DS)); /* which 64-bit code need not have */
    for (unsigned int i = 0; i < ARRAY_SIZE(tests); i++) {
        memcpy(page, tests[i].code, sizeof(tests[i].code));
        expect_equal(mmuext_op(MMUEXT_TLB_FLUSH_LOCAL, 0, 0), 0);
        in_user_mode(fault, FLAT_CS32, address);
        expect_equal(fault.vector, tests[i].vector);
        expect_equal(fault.rip, tests[i].vector == CALLBACK(sysenter) ? 0 : address + tests[i].rip);
        expect_equal(fault.error_code, tests[i].error_code);
    }
}

static void from_the_kernel(void)
{
    struct fault fault;

    catch_fault(fault, __asm__ volatile("int $0x81"));
    expect_equal(fault.vector, 0x81);
    expect_equal(fault.cs & 3, 0);
    expect_fault(__asm__ volatile("int $0x83"), GP, 0x83 * 8 + 2);
    expect_fault(*(volatile uint64_t *)0x1000 = 1, PF, PF_WRITE);
    expect_fault(*(volatile uint64_t *)0xffff830000000000, PF, 0); /* Xen's, and nothing there */
    expect_fault(__asm__ volatile("hlt"), GP, 0);
    expect_fault(__asm__ volatile("swapgs"), GP, 0);
    expect_fault(__asm__ volatile("invlpg 0"), GP, 0);
}

static void masks(void)
{
    struct fault fault;
    struct trap_info table[] = {
        { .vector = 0x82, .flags = 4 | 1, .cs = FLAT_CS64, .address = callback_address(CALLBACKTYPE_event) }, { 0 },
    };
    struct xennmi_callback nmi = { .handler_address = callback_address(CALLBACKTYPE_nmi) };

    vcpu_info(0)->evtchn_upcall_mask = 0;
    catch_fault(fault, __asm__ volatile("int $0x81"));
    expect_equal(vcpu_info(0)->evtchn_upcall_mask, 0);
    expect_equal(fault.saved_mask, 0);
    expect_equal(fault.rflags & EFLAGS_IF, EFLAGS_IF);
    expect_equal(hypercall3(__HYPERVISOR_set_trap_table, (uint64_t)table, 0, 0), 0);
    catch_fault(fault, __asm__ volatile("int $0x82"));
    expect_equal(vcpu_info(0)->evtchn_upcall_mask, 1);
    catch_fault(fault, __asm__ volatile("int $0x81"));
    expect_equal(fault.saved_mask, 1);
    expect_equal(fault.rflags & EFLAGS_IF, 0);
    vcpu_info(0)->evtchn_upcall_mask = 0;
    catch_fault(fault, hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_send_nmi, 0, 0));
    expect_equal(fault.vector, CALLBACK(nmi));
    expect_equal(vcpu_info(0)->evtchn_upcall_mask, 1);
    vcpu_info(0)->evtchn_upcall_mask = 0;
    expect_equal(hypercall(__HYPERVISOR_nmi_op, XENNMI_unregister_callback, NULL), 0);
    catch_fault(fault, hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_send_nmi, 0, 0));
    expect_equal(fault.vector, NO_FAULT);
    expect_equal(hypercall(__HYPERVISOR_nmi_op, XENNMI_register_callback, &nmi), 0);
}

/* one that begins with an iret is over with it: what follows it is not called */
static void multicall_of_an_iret(void)
{
    static multicall_entry_t calls[] = {
        { .op = __HYPERVISOR_xen_version, .result = 1 }, { .op = __HYPERVISOR_iret, .result = 2 },
        { .op = __HYPERVISOR_xen_version, .result = 3 },
    };
    struct iret_frame frame = program_frame(FLAT_CS64, user_int3);
    struct fault fault;

    catch_fault(fault, __asm__ volatile("mov %0, %%rsp; syscall; ud2" : : "r"(&frame), "a"(__HYPERVISOR_multicall),
                                        "D"(calls), "S"(3ul) : "rcx", "r11", "memory"));
    expect_equal(fault.vector, BP);
    expect_equal(fault.rip, (uint64_t)user_int3 + 1);
    expect_equal(calls[0].result, hypercall3(__HYPERVISOR_xen_version, XENVER_version, 0, 0));
    expect_equal(calls[1].result, 2);
    expect_equal(calls[2].result, 3);
}

/* reading a register that may be missing faults only where somebody can handle that */
static void without_handlers(void)
{
    uint32_t low = 1, high = 1;

    expect_fault(__asm__ volatile("rdmsr" : : "c"(0xc0010112)), GP, 0);
    expect_equal(hypercall3(__HYPERVISOR_set_trap_table, 0, 0, 0), 0);
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0010112));
    expect_equal(low | high, 0);
    register_trap(GP, 0);
    expect_fault(__asm__ volatile("int $0x80"), GP, 0x80 * 8 + 2);
    traps_init_vcpu(0);
}

static void registrations(void)
{
    struct callback_unregister unregister = { .type = CALLBACKTYPE_event };

    expect_equal(register_callback(CALLBACKTYPE_syscall, 1ul << 60, 0), -XEN_EINVAL);
    expect_equal(register_callback(3, 0, 0), -XEN_ENOSYS);
    expect_equal(register_callback(99, 0, 0), -XEN_ENOSYS);
    expect_equal(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_unregister, &unregister), -XEN_EINVAL);
    unregister.type = CALLBACKTYPE_nmi;
    expect_equal(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_unregister, &unregister), 0);
    unregister.type = 99;
    expect_equal(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_unregister, &unregister), -XEN_ENOSYS);
    expect_equal(hypercall(__HYPERVISOR_callback_op, 2, &unregister), -XEN_ENOSYS);
    expect_equal(hypercall3(__HYPERVISOR_set_callbacks, 1ul << 60, 1ul << 60, 1ul << 60), 0);
}

void test_main(void)
{
    uint64_t *top = new_top();

    map_at(0x400000, entry_of(allocate_page(), P | RW | US));
    expect_equal(mmu_update((mfn_of(top) << PAGE_SHIFT), ((uint64_t *)pv_start_info()->pt_base)[0]), 0);
    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(top), 0), 0);
    from_programs();
    from_32_bit_programs();
    from_the_kernel();
    multicall_of_an_iret();
    without_handlers();
    masks();
    registrations();
}
