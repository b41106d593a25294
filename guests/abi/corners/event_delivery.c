/* How exceptions and software interrupts are reported: which one it is, where, and with what error code. */
#include "guest.h"

#include "cpu.h"
#include "traps.h"

#define NON_CANONICAL (1ul << 62)

#define GATE_PRESENT (1u << 15)
#define ERROR_EXTERNAL 1
#define ERROR_IDT 2

#define CR0_EM (1ul << 2)
#define CR0_TS (1ul << 3)
#define CR4_OSFXSR (1ul << 9)
#define NM 7

/* an instruction, with labels for where it begins and ends */
#define INSTRUCTION(name, text) \
    extern const uint8_t name[], name##_end[]; \
    __asm__(".pushsection .text\n" #name ": " text "\n" #name "_end: ret\n.popsection")

INSTRUCTION(breakpoint, "int3");
INSTRUCTION(long_breakpoint, ".byte 0xcd, 3");
INSTRUCTION(prefixed_breakpoint, ".byte 0x67, 0x40, 0xcc");
INSTRUCTION(interrupt, "int $0x42");
INSTRUCTION(prefixed_interrupt, ".byte 0x67; int $0x42");
INSTRUCTION(icebp, ".byte 0xf1");
INSTRUCTION(prefixed_icebp, ".byte 0x67, 0xf1");
INSTRUCTION(locked_icebp, ".byte 0xf0, 0xf1");
INSTRUCTION(locked_breakpoint, ".byte 0xf0, 0xcc");
INSTRUCTION(undefined, "ud2");
INSTRUCTION(division, "xor %ecx, %ecx; divl %ecx");

static void expect_event(const uint8_t *code, const uint8_t *rip, uint64_t vector, uint64_t error_code)
{
    struct fault fault;

    catch_fault(fault, ((void (*)(void))code)());
    expect_equal(fault.vector, vector);
    expect_equal(fault.error_code, error_code);
    expect_equal(fault.rip, (uint64_t)rip);
}

static void set_present(unsigned int vector, bool present)
{
    struct __attribute__((packed)) { uint16_t limit; uint64_t base; } idt;
    volatile uint16_t *flags;

    __asm__ volatile("sidt %0" : "=m"(idt));
    flags = (uint16_t *)(idt.base + 16 * vector) + 2;
    *flags = present ? *flags | GATE_PRESENT : *flags & ~GATE_PRESENT;
}

static void test_traps(void)
{
    expect_event(breakpoint, breakpoint_end, BP, 0);
    expect_event(long_breakpoint, long_breakpoint_end, BP, 0);
    expect_event(prefixed_breakpoint, prefixed_breakpoint_end, BP, 0);
    expect_event(interrupt, interrupt_end, 0x42, 0);
    expect_event(prefixed_interrupt, prefixed_interrupt_end, 0x42, 0);
    expect_event(icebp, icebp_end, DB, 0);
    expect_event(prefixed_icebp, prefixed_icebp_end, DB, 0);
    expect_event(locked_icebp, locked_icebp, UD, 0);
    expect_event(locked_breakpoint, locked_breakpoint, UD, 0);
}

/* a fault of the delivery is that of the instruction, and tells whether it was one that asked for the gate */
static void test_absent_gates(void)
{
    static const unsigned int absent[] = { DB, BP, UD, 0x42 };

    for (unsigned int i = 0; i < ARRAY_SIZE(absent); i++)
        set_present(absent[i], false);
    for (unsigned int i = 0; i < 2; i++) {
        expect_event(breakpoint, breakpoint, NP, BP << 3 | ERROR_IDT);
        expect_event(long_breakpoint, long_breakpoint, NP, BP << 3 | ERROR_IDT);
        expect_event(prefixed_breakpoint, prefixed_breakpoint, NP, BP << 3 | ERROR_IDT);
        expect_event(prefixed_interrupt, prefixed_interrupt, NP, 0x42 << 3 | ERROR_IDT);
        expect_event(icebp, icebp, NP, DB << 3 | ERROR_IDT | ERROR_EXTERNAL);
        expect_event(prefixed_icebp, prefixed_icebp, NP, DB << 3 | ERROR_IDT | ERROR_EXTERNAL);
        expect_event(undefined, undefined, NP, UD << 3 | ERROR_IDT | ERROR_EXTERNAL);
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(absent); i++)
        set_present(absent[i], true);
    /* one that contributes to a double fault */
    set_present(DE, false);
    expect_fault(((void (*)(void))(const void *)division)(), DF, 0);
    set_present(DE, true);
    test_traps();
}

/* what addresses the stack's segment faults as that */
static void test_non_canonical_addresses(void)
{
    uint64_t saved_rsp;

#define EXPECT(vector, text) do { \
        expect_fault(__asm__ volatile( \
            "mov %%rsp, %0; mov %1, %%rax; mov %%rax, %%r12; mov %%rbp, %%rdx; mov $0x10, %%ecx\n" text \
            : "=m"(saved_rsp) : "r"(NON_CANONICAL) : "rax", "rcx", "rdx", "r12", "memory"), vector, 0); \
    } while (0)

    EXPECT(GP, "mov (%%rax), %%eax");
    EXPECT(GP, "mov (%%r12), %%eax");
    EXPECT(GP, "mov (%%rcx,%%rax), %%eax");
    EXPECT(GP, "mov %%ss:(%%rax), %%eax"); /* the prefix means nothing */
    EXPECT(GP, "movabs 0x4000000000000000, %%eax");
    EXPECT(SS, "mov %%rax, %%rbp; mov (%%rbp), %%eax");
    EXPECT(SS, "mov %%rax, %%rbp; movq $1, 0x12345678(%%rbp)");
    EXPECT(SS, "mov %%rax, %%rbp; lock incl -8(%%rbp,%%rcx,4)");
    EXPECT(SS, "mov (%%rsp,%%rax), %%eax");
    EXPECT(SS, "movzbl 4(%%rsp,%%rax), %%eax");
    EXPECT(SS, "movups (%%rsp,%%rax), %%xmm0");
    EXPECT(GP, "mov %%rax, %%rbp; mov %%gs:(%%rbp), %%eax");
    EXPECT(GP, "pushq (%%rax)");
    EXPECT(GP, "mov %0, %%rsp; jmp *%%rax");
    /* no operand in memory */
    EXPECT(GP, "mov $0x12345, %%ecx; rdmsr");
#undef EXPECT
    (void)saved_rsp;
}

#define expect_fpu(vector, text) expect_fault(__asm__ volatile(text), vector, 0)

/* an instruction that is undefined is that even while the FPU is another task's */
static void test_absent_fpu(void)
{
    static uint8_t area[512] __attribute__((aligned(16)));
    uint64_t cr0 = read_cr0() & ~(CR0_EM | CR0_TS), cr4 = read_cr4();

    write_cr4(cr4 | CR4_OSFXSR);
    write_cr0(cr0 | CR0_TS);
    expect_fpu(NM, "fnop");
    expect_fpu(NM, "movq %mm0, %mm0");
    expect_fpu(NM, "movups %xmm0, %xmm0");
    expect_fault(__asm__ volatile("fxsave %0" : "=m"(area)), NM, 0);

    write_cr4(cr4 & ~CR4_OSFXSR);
    expect_fpu(NM, "fnop");
    expect_fpu(NM, "movq %mm0, %mm0");
    expect_fpu(UD, "movups %xmm0, %xmm0");
    expect_fpu(UD, "movupd %xmm0, %xmm0");
    expect_fpu(UD, "addss %xmm8, %xmm0");

    write_cr4(cr4 | CR4_OSFXSR);
    write_cr0(cr0 | CR0_TS | CR0_EM);
    expect_fpu(NM, "fnop");
    expect_fpu(UD, "movq %mm0, %mm0");
    expect_fpu(UD, "movups %xmm0, %xmm0");
    expect_fault(__asm__ volatile("fxsave %0" : "=m"(area)), NM, 0);
    write_cr0(cr0);
    expect_fpu(NO_FAULT, "movups %xmm0, %xmm0");
    write_cr4(cr4);
}

void test_main(void)
{
    test_traps();
    test_absent_gates();
    test_non_canonical_addresses();
    test_absent_fpu();
}
