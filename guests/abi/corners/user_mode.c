/* Ring 3: SYSCALL and SYSRET, software interrupts, and what it must not do. */
#include "guest.h"

#include "cpu.h"
#include "memory.h"
#include "traps.h"

#define CODE FREE_VIRTUAL
#define STACK (FREE_VIRTUAL + 0x1000)
#define STACK_TOP (STACK + 0x1000)

/* a piece of the user's code, which is copied to CODE and entered there */
#define USER_CODE(name, text) \
    extern const uint8_t name[], name##_end[]; \
    __asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.popsection")

USER_CODE(user_int3, "int3");
USER_CODE(user_int80, "int $0x80");
USER_CODE(user_int13, "int $13");
USER_CODE(user_long_int13, ".byte 0x67, 0x67; int $13");
USER_CODE(user_icebp, ".byte 0xf1"); /* needs no gate for users */
USER_CODE(user_int81, "int $0x81"); /* a gate that is not for users */
USER_CODE(user_syscall, "mov $5, %eax; mov $0xabcd, %ebx; syscall; add $1, %eax; mov %rcx, %rdx; int $0x80");
#define BEHIND_SYSCALL 12
USER_CODE(user_out, "out %al, $0x80");
USER_CODE(user_in, "in $0x80, %al");
USER_CODE(user_outs, "mov $0x80, %edx; lea -8(%rsp), %rsi; outsb");
USER_CODE(user_ins, "mov $0x80, %edx; lea -8(%rsp), %rdi; insb");
USER_CODE(user_debug_port, "mov $'!', %al; out %al, $0xe9; int $0x80");
USER_CODE(user_hlt, "hlt");
USER_CODE(user_cli, "cli");
USER_CODE(user_rdmsr, "mov $0x1b, %ecx; rdmsr");
USER_CODE(user_cr, "mov %cr3, %rax");
USER_CODE(user_lidt, "lidt (%rsp)");
USER_CODE(user_kernel_read, "mov 0x800000, %eax");
USER_CODE(user_kernel_jump, "mov $0x800000, %eax; jmp *%rax");
USER_CODE(user_vmmcall, "mov $17, %eax; xor %edi, %edi; vmmcall; int $0x80");
USER_CODE(user_cpuid, "mov $0x40000000, %eax; cpuid; mov %rbx, %rdx; int $0x80");

#define MSR_PLATFORM_INFO 0xce
#define CPUID_FAULTING_IS_THERE (1ul << 31)
#define MSR_MISC_FEATURES_ENABLES 0x140
#define CPUID_FAULTING 1

extern uint64_t gdt[];

static uint64_t saved_rax, saved_rdx;

/* notes what the user has to say, and ends it as an int 0x80 without a handler would */
static void int80(struct frame *frame)
{
    saved_rax = frame->rax;
    saved_rdx = frame->rdx;
    set_handler(0x80, NULL);
    __asm__ volatile("int $0x80");
}

static struct fault run(const uint8_t *start, const uint8_t *end)
{
    struct fault fault;
    uint64_t code = (uint64_t)allocate_page();

    memcpy((void *)code, start, end - start);
    map_page(CODE, code, PTE_PRESENT | PTE_USER);
    set_handler(0x80, int80);
    catch_fault(fault, enter_user_mode(CODE, STACK_TOP, 0));
    return fault;
}

#define expect_user(name, vector_, error_code_) do { \
        struct fault fault_ = run(name, name##_end); \
        expect_equal(fault_.vector, vector_); \
        expect_equal(fault_.error_code, error_code_); \
    } while (0)

static void system_call(struct frame *frame)
{
    expect_equal(frame->rax, 5);
    expect_equal(frame->rbx, 0xabcd);
    expect_equal(frame->rip, CODE + BEHIND_SYSCALL);
    frame->rax = 41;
}

static void test_syscall(void)
{
    uint64_t efer = rdmsr(MSR_EFER);

    set_handler(SYSCALL_VECTOR, system_call);
    run(user_syscall, user_syscall_end);
    expect_equal(saved_rax, 42);
    expect_equal(saved_rdx, CODE + BEHIND_SYSCALL); /* RCX after SYSRET */

    wrmsr(MSR_EFER, efer & ~1ul);
    expect_user(user_syscall, UD, 0);
    wrmsr(MSR_EFER, efer);
    set_handler(SYSCALL_VECTOR, NULL);
}

static void load_task_register(uint64_t base, uint64_t limit)
{
    gdt[FIRST_TSS / 8] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    __asm__ volatile("ltr %w0" : : "r"(FIRST_TSS));
}

/* one port at a time, by the bitmap behind the task state segment */
static void test_port_bitmap(void)
{
    static struct { struct vcpu vcpu; uint8_t bitmap[0x2001]; } with_bitmap;
    uint64_t base = (uint64_t)&with_bitmap.vcpu.tss;

    with_bitmap.vcpu.tss = this_vcpu()->tss;
    with_bitmap.vcpu.tss.io_bitmap = (uint64_t)with_bitmap.bitmap - base;
    memset(with_bitmap.bitmap, 0xff, sizeof(with_bitmap.bitmap));
    with_bitmap.bitmap[0xe9 / 8] &= ~(1 << 0xe9 % 8);
    load_task_register(base, (uint64_t)&with_bitmap.bitmap[0x2000] - base);
    expect_user(user_out, GP, 0);
    expect_equal(run(user_debug_port, user_debug_port_end).vector, 0x80);
    load_task_register((uint64_t)&this_vcpu()->tss, sizeof(this_vcpu()->tss) - 1);
}

static void test_ports(void)
{
    expect_user(user_out, GP, 0);
    expect_user(user_in, GP, 0);
    expect_user(user_outs, GP, 0);
    expect_user(user_ins, GP, 0);
    expect_user(user_debug_port, GP, 0);
    test_port_bitmap();
}

static void test_kernel_memory(void)
{
    struct fault fault = run(user_kernel_read, user_kernel_read_end);

    expect_equal(fault.vector, PF);
    expect_equal(fault.error_code, PF_PRESENT | PF_USER);
    expect_equal(fault.cr2, 0x800000);
    fault = run(user_kernel_jump, user_kernel_jump_end);
    expect_equal(fault.vector, PF);
    expect_equal(fault.error_code, PF_PRESENT | PF_USER | PF_FETCH);
}

static void test_cpuid(void)
{
    run(user_cpuid, user_cpuid_end);
    expect_equal(saved_rdx, 0x566e6558); /* as anywhere */

    expect(rdmsr(MSR_PLATFORM_INFO) & CPUID_FAULTING_IS_THERE);
    wrmsr(MSR_MISC_FEATURES_ENABLES, CPUID_FAULTING);
    expect_user(user_cpuid, GP, 0);
    expect_equal(cpuid(0x40000000, 0).ebx, 0x566e6558);
    wrmsr(MSR_MISC_FEATURES_ENABLES, 0);
    expect_equal(run(user_cpuid, user_cpuid_end).vector, 0x80);
}

void test_main(void)
{
    struct fault fault;

    map_page(STACK, (uint64_t)allocate_page(), PTE_PRESENT | PTE_WRITE | PTE_USER);

    fault = run(user_int3, user_int3_end);
    expect_equal(fault.vector, BP);
    expect_equal(fault.rip, CODE + 1);
    expect_equal(run(user_int80, user_int80_end).vector, 0x80);
    expect_user(user_int81, GP, 0x81 << 3 | 2);
    expect_user(user_int13, GP, 13 << 3 | 2);
    expect_equal(run(user_int13, user_int13_end).rip, CODE);
    expect_equal(run(user_long_int13, user_long_int13_end).rip, CODE);
    fault = run(user_icebp, user_icebp_end);
    expect_equal(fault.vector, DB);
    expect_equal(fault.rip, CODE + 1);
    test_syscall();
    test_ports();
    test_kernel_memory();

    expect_user(user_hlt, GP, 0);
    expect_user(user_cli, GP, 0);
    expect_user(user_rdmsr, GP, 0);
    expect_user(user_cr, GP, 0);
    expect_user(user_lidt, GP, 0);
    run(user_vmmcall, user_vmmcall_end);
    expect_equal(saved_rax, -1 /* EPERM */);
    test_cpuid();
}
