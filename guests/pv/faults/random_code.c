/*
 * Runs code that is random: any bytes as a program; and as the kernel the instructions that Xen does in its place, with
 * random operands. "snippets=" of each, from "seed=". Whatever they are, the kernel gets back what it can go on from.
 */
#include "pv.h"
#include "random.h"
#include "traps.h"

#include <xen/event_channel.h>
#include <xen/vcpu.h>

#define PROGRAM 0x400000ul
#define PROGRAM_PAGES 4
#define KERNEL_CODE 0xffff888000000000ul
#define SCRATCH (KERNEL_CODE + 0x10000)
#define TABLE (KERNEL_CODE + 0x20000) /* a page table of level 1, which can only be read here */

static uint8_t *program, *kernel_code, *scratch;
static uint64_t *table;
static uint64_t counts[CALLBACK_VECTOR + CALLBACKS];

static void fill(uint8_t *bytes, unsigned int size)
{
    for (unsigned int i = 0; i < size; i++)
        bytes[i] = random();
}

/* what runs for ever is interrupted */
static void start_timer(void)
{
    evtchn_bind_virq_t timer = { .virq = VIRQ_TIMER };
    struct vcpu_set_periodic_timer period = { .period_ns = 2000000 };

    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &timer), 0);
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_set_periodic_timer, 0, (uint64_t)&period), 0);
}

static void forget_events(void)
{
    vcpu_info_t *info = vcpu_info(0);

    info->evtchn_upcall_mask = 1;
    info->evtchn_upcall_pending = 0;
    info->evtchn_pending_sel = 0;
    memset(shared_info()->evtchn_pending, 0, sizeof(shared_info()->evtchn_pending));
}

static void on_event(struct frame *frame)
{
    forget_events();
    if (this_vcpu()->recovery)
        recover(frame);
}

static void count(struct fault fault)
{
    forget_events();
    if (fault.vector < ARRAY_SIZE(counts))
        counts[fault.vector]++;
}

/* on page tables of its own, which map nothing but its pages */
static void set_up_program(void)
{
    uint64_t *tables[4];

    program = allocate_pages(PROGRAM_PAGES);
    for (int level = 0; level < 4; level++) {
        tables[level] = allocate_page();
        memset(tables[level], 0, PAGE_SIZE);
    }
    for (unsigned int i = 0; i < PROGRAM_PAGES; i++)
        tables[0][(PROGRAM >> 12 & 511) + i] = entry_of(program + i * PAGE_SIZE, P | RW | US);
    tables[1][PROGRAM >> 21 & 511] = entry_of(tables[0], P | RW | US);
    tables[2][0] = entry_of(tables[1], P | RW | US);
    tables[3][0] = entry_of(tables[2], P | RW | US);
    for (int level = 0; level < 4; level++)
        expect_equal(remap(tables[level], P), 0);
    expect_equal(mmuext_op(MMUEXT_PIN_L4_TABLE, mfn_of(tables[3]), 0), 0);
    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(tables[3]), 0), 0);
}

static void run_program(uint16_t code_segment)
{
    struct iret_frame frame = {
        .rax = random(), .rip = PROGRAM + random() % 64, .cs = code_segment, .ss = FLAT_DS,
        .rflags = EFLAGS_IF | (random() % 8 ? 0 : random() & 0x250dd5), .rsp = PROGRAM + PROGRAM_PAGES * PAGE_SIZE - 64,
    };
    struct fault fault;

    fill(program, 128);
    program[126] = 0x0f; /* UD2 */
    program[127] = 0x0b;
    mmuext_op(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
    catch_fault(fault, iret(&frame));
    count(fault);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0));
}

/* run code with one value in all registers but RSP: an address, so that operands in memory are somewhere */
extern void run_with_registers(uint64_t address, uint64_t value);
__asm__(
    ".section .text\n"
    "run_with_registers:\n"
    "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "    push %rdi\n"
    "    mov %rsi, %rax; mov %rsi, %rbx; mov %rsi, %rcx; mov %rsi, %rdx; mov %rsi, %rbp; mov %rsi, %rdi\n"
    "    mov %rsi, %r8; mov %rsi, %r9; mov %rsi, %r10; mov %rsi, %r11; mov %rsi, %r12; mov %rsi, %r13\n"
    "    mov %rsi, %r14; mov %rsi, %r15\n"
    "    ret\n");

/* ModRM with a register other than RSP, or an operand in memory at one */
static uint8_t modrm(bool in_memory)
{
    uint8_t byte = random();

    if (in_memory)
        return (byte & 0x38) | (uint8_t[]){ 0, 1, 2, 3, 6, 7 }[random() % 6];
    if ((byte & 7) == 4)
        byte ^= 1;
    if ((byte >> 3 & 7) == 4)
        byte ^= 8;
    return byte | 0xc0;
}

static unsigned int privileged_instruction(uint8_t *code)
{
    static const uint8_t short_ones[] = { 0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef, 0xfa, 0xfb, 0xf4, 0x6c, 0x6f };
    static const uint8_t long_ones[] = { 0x20, 0x21, 0x22, 0x23, 0x00, 0x01, 0x06, 0x08, 0x09, 0x32, 0x33, 0xa2 };
    unsigned int chosen = random() % 12; /* the first ones have an operand */
    unsigned int length = 0;

    if (random() % 3 == 0)
        code[length++] = (uint8_t[]){ 0x66, 0xf2, 0xf3, 0x2e, 0x67, 0xf0 }[random() % 6];
    if (random() % 3 == 0)
        code[length++] = 0x40 | (random() & 0xa); /* W and X: R and B would make a 4 of RSP's harmless */
    if (random() % 8 == 0) {
        memcpy(code + length, "\x0f\x0bxen\x0f\xa2", 7);
        return length + 7;
    }
    if (random() % 2) {
        code[length++] = short_ones[chosen];
        if (chosen < 4)
            code[length++] = random();
    } else {
        code[length++] = 0x0f;
        code[length++] = long_ones[chosen];
        if (chosen < 6)
            code[length++] = modrm(false);
    }
    return length;
}

/* stores to the table: some are done as updates, others refused */
static unsigned int store_instruction(uint8_t *code)
{
    static const uint8_t short_ones[] = { 0x00, 0x01, 0x08, 0x09, 0x20, 0x21, 0x28, 0x29, 0x30, 0x31, 0x80, 0x81, 0x83,
                                          0x86, 0x87, 0x88, 0x89, 0xc6, 0xc7, 0xd1, 0xf6, 0xf7, 0xfe, 0xff, 0x11, 0x19,
                                          0xaa, 0xab, 0xa4, 0xa5 };
    static const uint8_t long_ones[] = { 0xab, 0xb3, 0xbb, 0xba, 0xb0, 0xb1, 0xc0, 0xc1, 0xc7, 0x11, 0x7f, 0xe7, 0xc3 };
    unsigned int length = 0;
    uint8_t opcode;

    if (random() % 4 == 0)
        code[length++] = (uint8_t[]){ 0x66, 0xf0, 0xf2, 0xf3 }[random() % 4];
    if (random() % 2)
        code[length++] = 0x48;
    if (random() % 2) {
        opcode = code[length++] = short_ones[random() % ARRAY_SIZE(short_ones)];
        if (opcode >= 0xa4 && opcode <= 0xab)
            return length;
    } else {
        code[length++] = 0x0f;
        opcode = code[length++] = long_ones[random() % ARRAY_SIZE(long_ones)];
    }
    code[length++] = modrm(true);
    if (opcode == 0xff) /* not what jumps or pushes */
        code[length - 1] &= 0x0f;
    if (opcode == 0x86 || opcode == 0x87 || opcode == 0xc0 || opcode == 0xc1) /* these load a register */
        code[length - 1] &= 0x1f;
    return length;
}

static void run_in_kernel(bool stores)
{
    uint64_t value = stores ? TABLE + random() % 512 * 8 : SCRATCH + random() % 4096;
    unsigned int length;
    struct fault fault;

    length = stores ? store_instruction(kernel_code) : privileged_instruction(kernel_code);
    memset(kernel_code + length, 0xcc, 64 - length);
    if (stores && random() % 2)
        memset(kernel_code + length, 0, 8); /* a number that the instruction may have, or ADD to the table */
    mmuext_op(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
    catch_fault(fault, vcpu_info(0)->evtchn_upcall_mask = 0; run_with_registers(KERNEL_CODE, value));
    count(fault);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0));
    hypercall3(__HYPERVISOR_fpu_taskswitch, 0, 0, 0);
    hypercall3(__HYPERVISOR_set_debugreg, 7, 0, 0);
    mmuext_op(MMUEXT_NEW_BASEPTR, mfn_of((void *)pv_start_info()->pt_base), 0);
}

static void set_up_kernel(void)
{
    kernel_code = allocate_page();
    scratch = allocate_page();
    table = new_table();
    map_at(KERNEL_CODE, entry_of(kernel_code, P | RW));
    map_at(SCRATCH, entry_of(scratch, P | RW));
    expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, mfn_of(table), 0), 0);
    map_at(TABLE, entry_of(table, P));
}

void test_main(void)
{
    uint64_t snippets = option("snippets", 500), seed = option("seed", 1);

    printk("seed %lu, %lu snippets\n", seed, snippets);
    random_seed(seed);
    set_up_program();
    set_up_kernel();
    set_handler(CALLBACK(event), on_event);
    start_timer();
    for (uint64_t i = 0; i < snippets; i++) {
        run_program(FLAT_CS64);
        run_program(FLAT_CS32);
        run_in_kernel(false);
        run_in_kernel(true);
    }
    for (unsigned int vector = 0; vector < ARRAY_SIZE(counts); vector++)
        if (counts[vector])
            printk("%lu times vector %#x\n", counts[vector], vector);
}
