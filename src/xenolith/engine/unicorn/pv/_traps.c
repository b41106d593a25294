/*
 * The hooks by which a PV guest's traps reach its own kernel: exceptions, SYSCALL, the iret hypercall, events.
 *
 * They do what Xen's entry.S does (create_bounce_frame, switch_to_kernel, test_guest_events) and its do_iret(), and are
 * C because they are hot: a system call of a guest's program is two of them, a page fault another two. Python is
 * entered only for what the hypervisor has to decide.
 *
 * The guest's kernel runs at CPL 1, its programs at CPL 3. So the emulator, which keeps apart what it has translated
 * for CPL 3 and for all others, needs not forget either at each change of the page tables between the two. For this
 * Xen's flat segments are of level 1 in the descriptor table that the kernel is shown; all others are of level 3.
 * Where a kernel does what only works at the privilege level of those, it runs at CPL 3 up to its next trap.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../native_calls.h"

#define PAGE_SIZE 4096u

#define VECTOR_NMI 2
#define VECTOR_BP 3
#define VECTOR_UD 6
#define VECTOR_NM 7
#define VECTOR_GP 13
#define VECTOR_PF 14
#define PUSHES_ERROR_CODE 0x00227d00u /* by vector: 8, 10 to 14, 17, 21 */

#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u

#define EFLAGS_TF 0x100u
#define EFLAGS_IF 0x200u
#define EFLAGS_DF 0x400u
#define EFLAGS_IOPL 0x3000u
#define EFLAGS_NT 0x4000u
#define EFLAGS_RF 0x10000u
#define EFLAGS_VM 0x20000u
#define EFLAGS_AC 0x40000u
#define EFLAGS_ARITHMETIC 0x8d5u
#define EFLAGS_ALL 0x00277fd5u /* all that can be written; bit 1 is always set */
#define EFLAGS_CLEARED (EFLAGS_AC | EFLAGS_VM | EFLAGS_RF | EFLAGS_NT | EFLAGS_TF)

#define CR0_TS 8u

#define HFLAG_CPL 3u
#define HFLAG_INHIBIT_IRQ (1u << 3)
#define HFLAG_CS32 (1u << 4)
#define HFLAG_SS32 (1u << 5)
#define HFLAG_ADDSEG (1u << 6)
#define HFLAG_CS64 (1u << 15)
#define HFLAGS_SEGMENTS (HFLAG_CPL | HFLAG_CS32 | HFLAG_SS32 | HFLAG_ADDSEG | HFLAG_CS64 | HFLAG_INHIBIT_IRQ)

#define KERNEL_CPL 1u
#define USER_CPL 3u

/* flat segments of public/arch-x86/xen-x86_64.h, and the second words of their descriptors */
#define FLAT_CS32 0xe023u
#define FLAT_SS 0xe02bu
#define FLAT_CS64 0xe033u
#define DESC_CS32 0x00cffb00u
#define DESC_SS 0x00cff300u
#define DESC_CS64 0x00affb00u

#define DESC_PRESENT (1u << 15)
#define DESC_S (1u << 12)
#define DESC_CODE (1u << 11)
#define DESC_WRITABLE (1u << 9)
#define DESC_LONG (1u << 21)
#define DESC_BIG (1u << 22)
#define DESC_GRANULAR (1u << 23)

#define VGCF_IN_SYSCALL 0x100u
#define HYPERCALL_IRET 23
#define SYSCALL_BYTES 2
#define INT_BYTES 2

#define PTE_PRESENT 1u
#define PTE_WRITABLE 2u
#define PTE_ACCESSED 0x20u
#define PTE_DIRTY 0x40u
#define PTE_LARGE 0x80u
#define PTE_ADDRESS 0x000ffffffffff000u

/* what only Xen uses: no stack of a guest can be there */
#define XEN_START 0xffff800000000000u
#define XEN_END 0xffff880000000000u

enum { RAX = 0, RCX = 1, RSP = 4, R11 = 11 };
enum { SEG_ES = 0, SEG_CS = 1, SEG_SS = 2, SEG_DS = 3, SEG_FS = 4, SEG_GS = 5, SEG_LDT = 6, SEG_GDT = 8 };
enum { CALLBACK_EVENT = 0, CALLBACK_SYSCALL = 2, CALLBACK_SYSCALL32 = 7, CALLBACKS = 8 };
enum { INFO_PENDING = 0, INFO_MASK = 1, INFO_CR2 = 16 }; /* offsets in struct vcpu_info */

/* why a domain crashes; traps.py has the words */
enum { BAD_STACK = 1, NO_HANDLER = 2, BAD_IRET_FRAME = 3, NO_USER_PAGE_TABLE = 4 };

struct segment {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
};

/* where a trap or a callback goes; none where the address is 0 */
struct gate {
    uint64_t address;
    uint16_t selector;
    uint8_t dpl;
    uint8_t masks_events;
};

struct vcpu {
    struct gate traps[256];
    struct gate callbacks[CALLBACKS];
    uint64_t kernel_sp;
    uint64_t roots[2]; /* the top page table of user and of kernel mode: by in_kernel */
    uint64_t other_gs_base; /* of the mode that the vCPU is not in */
    uint8_t *info; /* its struct vcpu_info */
    uint64_t gdt[2]; /* where its descriptor table is shown: by whether it runs at KERNEL_CPL */
    uint32_t in_kernel;
    uint32_t flush; /* whether the guest must not go on with what the TLB holds */
    uint32_t nmi_pending, nmi_masked;
};

struct trap_context {
    void *cpu;
    void *env;
    uint64_t *registers;
    uint64_t *rip;
    uint32_t *hflags;
    struct segment *segments;
    uint64_t *control; /* CR0 and on */
    int32_t *exception_is_int; /* the error code is before it, where an INT n ends behind it */
    int32_t *old_exception;
    uint64_t (*read_eflags)(void *env);
    void (*write_eflags)(void *env, uint64_t value, uint32_t mask);
    void (*update_cr0)(void *env, uint32_t value);
    void (*raise)(void *env, int vector, int is_software, int error_code, int length);
    void (*flush_tlb)(void *cpu);
    uint8_t *memory; /* machine memory, from address 0 on */
    uint64_t memory_size;
    uint8_t *private_memory; /* the hypervisor's own, at private_base */
    uint64_t private_base, private_size;
    void (*on_hypercall)(void);
    int (*on_fault)(uint32_t vector, uint32_t error_code, uint64_t address); /* whether it was emulated */
    void (*on_cpuid)(void);
    void (*on_crash)(uint32_t why, uint64_t detail);
    struct vcpu *vcpu; /* the one that runs */
    void (*flush_page)(void *cpu, uint64_t address);
    void *native_self; /* the hypervisor's own, for its native calls; those are NULL where it has none */
    native_call *native_hypercall, *native_store;
};

/* the words of CS and SS that a trap saves, and whence */
struct origin {
    uint64_t rip, cs, rflags, rsp, ss;
};

static uint8_t *machine(const struct trap_context *context, uint64_t address, uint64_t size)
{
    if (address < context->memory_size && size <= context->memory_size - address)
        return context->memory + address;
    address -= context->private_base;
    if (address < context->private_size && size <= context->private_size - address)
        return context->private_memory + address;
    return NULL;
}

/* The host's address of a guest-virtual byte by the page tables in use, their bits set as by an access; or NULL. */
static uint8_t *translate(const struct trap_context *context, uint64_t address, int write)
{
    uint64_t table = context->control[3] & PTE_ADDRESS, wanted = PTE_PRESENT | (write ? PTE_WRITABLE : 0);
    int shift;

    if ((uint64_t)((int64_t)(address << 16) >> 16) != address)
        return NULL;
    for (shift = 39;; shift -= 9) {
        uint64_t *entry = (uint64_t *)machine(context, table + 8 * (address >> shift & 511), 8);
        uint64_t mask = (1ull << shift) - 1;
        int leaf;

        if (!entry || (*entry & wanted) != wanted)
            return NULL;
        leaf = shift == 12 || (*entry & PTE_LARGE);
        *entry |= PTE_ACCESSED | (leaf && write ? PTE_DIRTY : 0);
        if (leaf)
            return machine(context, (*entry & PTE_ADDRESS & ~mask) | (address & mask), 1);
        table = *entry & PTE_ADDRESS;
    }
}

static int copy(const struct trap_context *context, uint64_t address, void *data, uint64_t size, int write)
{
    uint8_t *bytes = data;

    while (size) {
        uint64_t room = PAGE_SIZE - address % PAGE_SIZE, part = size < room ? size : room;
        uint8_t *host = translate(context, address, write);

        if (!host)
            return 0;
        if (write)
            memcpy(host, bytes, part);
        else
            memcpy(bytes, host, part);
        address += part, bytes += part, size -= part;
    }
    return 1;
}

static uint64_t read_flags(const struct trap_context *context)
{
    return context->read_eflags(context->env) | EFLAGS_IF;
}

static void write_flags(const struct trap_context *context, uint64_t flags)
{
    context->write_eflags(context->env, (flags & ~(uint64_t)(EFLAGS_IOPL | EFLAGS_VM)) | EFLAGS_IF | 2, EFLAGS_ALL);
}

static void load_segment(struct segment *segment, uint32_t selector, uint32_t low, uint32_t high)
{
    uint32_t limit = (low & 0xffff) | (high & 0xf0000);

    segment->selector = selector;
    segment->base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000);
    segment->limit = high & DESC_GRANULAR ? limit << 12 | 0xfff : limit;
    segment->flags = high;
}

/* After CS and SS have been loaded. */
static void update_hflags(struct trap_context *context, uint32_t cpl)
{
    struct segment *segments = context->segments;
    uint32_t hflags = *context->hflags & ~HFLAGS_SEGMENTS, code = segments[SEG_CS].flags;

    segments[SEG_GDT].base = context->vcpu->gdt[cpl == KERNEL_CPL];
    hflags |= cpl;
    if (code & DESC_LONG) {
        hflags |= HFLAG_CS64 | HFLAG_CS32 | HFLAG_SS32;
    } else {
        if (code & DESC_BIG)
            hflags |= HFLAG_CS32;
        if (segments[SEG_SS].flags & DESC_BIG)
            hflags |= HFLAG_SS32;
        if (!(code & DESC_BIG) || (segments[SEG_DS].base | segments[SEG_ES].base | segments[SEG_SS].base))
            hflags |= HFLAG_ADDSEG;
    }
    *context->hflags = hflags;
}

static void load_flat_segments(struct trap_context *context, uint32_t code, uint32_t cpl)
{
    uint32_t level = USER_CPL - cpl;

    load_segment(&context->segments[SEG_CS], code - level, 0xffff, code == FLAT_CS32 ? DESC_CS32 : DESC_CS64);
    load_segment(&context->segments[SEG_SS], FLAT_SS - level, 0xffff, DESC_SS);
    update_hflags(context, cpl);
}

/* Let the kernel go on at the privilege level of its selectors. */
static void enter_cpl3(struct trap_context *context)
{
    context->segments[SEG_CS].selector |= 3;
    context->segments[SEG_SS].selector |= 3;
    update_hflags(context, USER_CPL);
    context->vcpu->flush = 1;
}

/* In kernel mode: note if what was translated for CPL 3 is not the guest's programs' alone any more. */
static void leave_cpl3(struct trap_context *context)
{
    if (context->vcpu->in_kernel && (*context->hflags & HFLAG_CPL) == USER_CPL)
        context->vcpu->flush = 1;
}

static void toggle_mode(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t base = context->segments[SEG_GS].base;

    vcpu->in_kernel ^= 1;
    context->segments[SEG_GS].base = vcpu->other_gs_base;
    vcpu->other_gs_base = base;
    context->control[3] = vcpu->roots[vcpu->in_kernel];
}

static void crash(struct trap_context *context, uint32_t why, uint64_t detail)
{
    context->on_crash(why, detail);
}

/* Have the guest go on at a gate, a frame of what it was doing on its stack. */
static int bounce(struct trap_context *context, const struct gate *gate, const struct origin *origin,
                  int has_error_code, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t frame[8], stack = origin->rsp, cs = origin->cs & 0xffff;
    uint8_t mask = vcpu->info[INFO_MASK];
    unsigned words = 0;

    leave_cpl3(context);
    if (vcpu->in_kernel) {
        cs &= ~(uint64_t)3;
    } else {
        toggle_mode(context);
        stack = vcpu->kernel_sp;
    }
    stack &= ~(uint64_t)15;
    if (!gate->address) {
        crash(context, NO_HANDLER, origin->rip);
        return 0;
    }
    frame[words++] = context->registers[RCX];
    frame[words++] = context->registers[R11];
    if (has_error_code)
        frame[words++] = error_code;
    frame[words++] = origin->rip;
    frame[words++] = cs | (uint64_t)mask << 32;
    frame[words++] = (origin->rflags & ~(uint64_t)(EFLAGS_IF | EFLAGS_IOPL)) | (mask ? 0 : EFLAGS_IF);
    frame[words++] = origin->rsp;
    frame[words++] = origin->ss & 0xffff;
    stack -= 8 * words;
    if ((stack >= XEN_START && stack < XEN_END) || !copy(context, stack, frame, 8 * words, 1)) {
        crash(context, BAD_STACK, stack);
        return 0;
    }
    if (gate->masks_events)
        vcpu->info[INFO_MASK] = 1;
    context->registers[RSP] = stack;
    *context->rip = gate->address;
    load_flat_segments(context, FLAT_CS64, KERNEL_CPL);
    write_flags(context, origin->rflags & ~(uint64_t)EFLAGS_CLEARED);
    return 1;
}

static struct origin here(const struct trap_context *context)
{
    struct origin origin = {
        .rip = *context->rip,
        .cs = context->segments[SEG_CS].selector | 3,
        .rflags = read_flags(context),
        .rsp = context->registers[RSP],
        .ss = context->segments[SEG_SS].selector | 3,
    };

    return origin;
}

static int bounce_exception(struct trap_context *context, uint32_t vector, uint32_t error_code, uint64_t rip)
{
    struct origin origin = here(context);

    origin.rip = rip;
    return bounce(context, &context->vcpu->traps[vector], &origin,
                  vector < 32 && PUSHES_ERROR_CODE >> vector & 1, error_code);
}

/* What is to happen before the guest goes on: events, NMIs, forgetting translations. RIP is where it would go on. */
static void resume(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    if (vcpu->nmi_pending && !vcpu->nmi_masked) {
        vcpu->nmi_pending = 0;
        vcpu->nmi_masked = 1;
        if (!bounce_exception(context, VECTOR_NMI, 0, *context->rip))
            return;
    }
    if (vcpu->info[INFO_PENDING] && !vcpu->info[INFO_MASK]) {
        struct origin origin = here(context);

        if (!bounce(context, &vcpu->callbacks[CALLBACK_EVENT], &origin, 0, 0))
            return;
        /* whatever the guest registered it with: an upcall that did not mask upcalls would never end */
        vcpu->info[INFO_MASK] = 1;
    }
    if (vcpu->flush) {
        vcpu->flush = 0;
        context->flush_tlb(context->cpu);
    }
}

/* Read guest-virtual memory by the page tables in use, while the vCPU stands still; whether it is all there. */
int xenolith_pv_read(const struct trap_context *context, uint64_t address, void *data, uint64_t size)
{
    return copy(context, address, data, size, 0);
}

/* For those who hand the structures in: built from another version of this file, they would be something else. */
uint64_t xenolith_pv_sizes(void)
{
    return (uint64_t)sizeof(struct trap_context) << 32 | sizeof(struct vcpu);
}

void xenolith_pv_resume(struct trap_context *context)
{
    resume(context);
}

/* Deliver an exception to the guest's kernel; called while the vCPU stands still. */
void xenolith_pv_inject(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    bounce_exception(context, vector, error_code, *context->rip);
}

/* The descriptor that a selector of privilege level 3 names; 0 where there is none. */
static uint64_t read_descriptor(const struct trap_context *context, uint32_t selector)
{
    const struct segment *table = &context->segments[selector & 4 ? SEG_LDT : SEG_GDT];
    uint32_t offset = selector & 0xfff8;
    uint64_t descriptor;

    if (offset + 7 > table->limit || !copy(context, table->base + offset, &descriptor, 8, 0))
        return 0;
    return descriptor;
}

/* Load DS, ES, FS or GS, with a null selector where the processor would fault. */
void xenolith_pv_load_data_segment(struct trap_context *context, int number, uint32_t selector)
{
    uint64_t descriptor = selector & 0xfffc ? read_descriptor(context, selector) : 0;
    uint32_t high = descriptor >> 32;

    if ((high & (DESC_PRESENT | DESC_S)) == (DESC_PRESENT | DESC_S))
        load_segment(&context->segments[number], selector, (uint32_t)descriptor, high);
    else
        load_segment(&context->segments[number], 0, 0, 0);
}

static int load_code_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor = read_descriptor(context, selector);
    uint32_t high = descriptor >> 32, wanted = DESC_PRESENT | DESC_S | DESC_CODE;

    if ((high & wanted) != wanted || (high & (DESC_LONG | DESC_BIG)) == (DESC_LONG | DESC_BIG))
        return 0;
    load_segment(&context->segments[SEG_CS], selector, (uint32_t)descriptor, high);
    return 1;
}

static int load_stack_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor = 0;
    uint32_t high, wanted = DESC_PRESENT | DESC_S | DESC_WRITABLE;

    if (selector & 0xfffc) {
        descriptor = read_descriptor(context, selector);
        high = descriptor >> 32;
        if ((high & wanted) != wanted || high & DESC_CODE)
            return 0;
    } else if (!(context->segments[SEG_CS].flags & DESC_LONG)) {
        return 0;
    }
    load_segment(&context->segments[SEG_SS], selector, (uint32_t)descriptor, descriptor >> 32);
    return 1;
}

/* Load CS and SS for a vCPU that starts in kernel or user mode; 0 where they name no such segments. */
int xenolith_pv_start(struct trap_context *context, uint32_t code, uint32_t stack)
{
    uint32_t cpl = context->vcpu->in_kernel ? KERNEL_CPL : USER_CPL;

    if ((code | 3) == FLAT_CS64 && (stack | 3) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64, cpl);
        return 1;
    }
    if (!load_code_segment(context, code | 3) || !load_stack_segment(context, stack | 3))
        return 0;
    update_hflags(context, cpl);
    return 1;
}

/* HYPERVISOR_iret: the guest's kernel returns from a trap by the frame at its RSP. */
static void do_iret(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct {
        uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
    } frame;
    uint32_t cpl = KERNEL_CPL;

    if (!copy(context, context->registers[RSP], &frame, sizeof(frame), 0)) {
        crash(context, BAD_IRET_FRAME, context->registers[RSP]);
        return;
    }
    if ((frame.cs & 3) == 3) {
        if (!vcpu->roots[0]) {
            crash(context, NO_USER_PAGE_TABLE, frame.rip);
            return;
        }
        toggle_mode(context);
        cpl = USER_CPL;
    }
    context->registers[RAX] = frame.rax;
    context->registers[RSP] = frame.rsp;
    *context->rip = frame.rip;
    vcpu->info[INFO_MASK] = !(frame.rflags & EFLAGS_IF);
    vcpu->nmi_masked = 0;
    write_flags(context, frame.rflags & ~(uint64_t)EFLAGS_NT);
    if (frame.flags & VGCF_IN_SYSCALL) {
        /* by SYSRET, which takes RIP from RCX and the flags from R11 */
        context->registers[RCX] = frame.rip;
        context->registers[R11] = read_flags(context);
        load_flat_segments(context, (frame.cs & 0xffff) == FLAT_CS32 ? FLAT_CS32 : FLAT_CS64, cpl);
        return;
    }
    context->registers[RCX] = frame.rcx;
    context->registers[R11] = frame.r11;
    if (((frame.cs | 3) & 0xffff) == FLAT_CS64 && ((frame.ss | 3) & 0xffff) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64, cpl);
        return;
    }
    if (!load_code_segment(context, (frame.cs | 3) & 0xffff)) {
        load_flat_segments(context, FLAT_CS64, cpl);
        context->segments[SEG_CS].selector = (frame.cs | 3) & 0xffff;
        bounce_exception(context, VECTOR_GP, frame.cs & 0xfffc, frame.rip);
        return;
    }
    if (!load_stack_segment(context, (frame.ss | 3) & 0xffff)) {
        load_segment(&context->segments[SEG_SS], (frame.ss | 3) & 0xffff, 0, 0);
        update_hflags(context, cpl);
        bounce_exception(context, VECTOR_GP, frame.ss & 0xfffc, frame.rip);
        return;
    }
    update_hflags(context, cpl);
}

/* SYSCALL out of a program */
static void system_call(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    int is_64bit = (*context->hflags & HFLAG_CS64) != 0;
    struct gate *gate = &vcpu->callbacks[is_64bit ? CALLBACK_SYSCALL : CALLBACK_SYSCALL32];
    struct origin origin = here(context);

    if (!gate->address) {
        bounce_exception(context, VECTOR_UD, 0, *context->rip);
        return;
    }
    origin.rip += SYSCALL_BYTES;
    origin.cs = is_64bit ? FLAT_CS64 : FLAT_CS32;
    origin.ss = FLAT_SS;
    context->registers[RCX] = origin.rip;
    context->registers[R11] = origin.rflags;
    if (bounce(context, gate, &origin, 0, 0))
        write_flags(context, read_flags(context) & ~(uint64_t)EFLAGS_DF);
}

/* Ask native code of the hypervisor's first; whether the trap is done with. */
static int call_natively(struct trap_context *context, native_call *call, uint64_t address)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rflags = context->read_eflags(context->env);
    struct native_trap trap = {
        .registers = context->registers,
        .roots = vcpu->roots,
        .kernel_stack = &vcpu->kernel_sp,
        .fs_base = &context->segments[SEG_FS].base,
        .gs_base_user = &vcpu->other_gs_base,
        .gs_base_kernel = &context->segments[SEG_GS].base,
        .address = address,
        .rflags = rflags,
    };
    int done = call(context->native_self, &trap);

    context->control[3] = vcpu->roots[1];
    if (trap.rflags != rflags)
        context->write_eflags(context->env, trap.rflags, EFLAGS_ARITHMETIC);
    if (trap.forget == FORGET_ALL)
        context->flush_tlb(context->cpu);
    else if (trap.forget == FORGET_PAGE)
        context->flush_page(context->cpu, trap.forget_page);
    return done;
}

static void hypercall(struct trap_context *context)
{
    leave_cpl3(context);
    *context->rip += SYSCALL_BYTES;
    if ((uint32_t)context->registers[RAX] == HYPERCALL_IRET) {
        do_iret(context);
        return;
    }
    load_flat_segments(context, FLAT_CS64, KERNEL_CPL);
    if (!context->native_hypercall || !call_natively(context, context->native_hypercall, 0))
        context->on_hypercall();
    context->registers[RCX] = *context->rip;
    context->registers[R11] = read_flags(context);
}

/* UC_HOOK_INSN for SYSCALL; the library adds its length to RIP afterwards */
void xenolith_pv_on_syscall(void *uc, struct trap_context *context)
{
    (void)uc;
    if (context->vcpu->in_kernel)
        hypercall(context);
    else
        system_call(context);
    resume(context);
    *context->rip -= SYSCALL_BYTES;
}

/* INT n: gates have a privilege level; a guest's kernel has them all */
static void software_interrupt(struct trap_context *context, uint32_t vector, uint64_t next)
{
    struct vcpu *vcpu = context->vcpu;

    if (vector != VECTOR_BP && !vcpu->in_kernel && vcpu->traps[vector].dpl < 3)
        bounce_exception(context, VECTOR_GP, vector * 8 + 2, next - INT_BYTES);
    else
        bounce_exception(context, vector, 0, next);
}

static void page_fault(struct trap_context *context, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t address = context->control[2];

    if (vcpu->in_kernel) {
        error_code &= ~PF_USER;
        if ((error_code & (PF_PRESENT | PF_WRITE)) == (PF_PRESENT | PF_WRITE)
            && ((context->native_store && call_natively(context, context->native_store, address))
                || context->on_fault(VECTOR_PF, error_code, address)))
            return;
    }
    memcpy(vcpu->info + INFO_CR2, &address, 8);
    bounce_exception(context, VECTOR_PF, error_code, *context->rip);
}

static void other_exception(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    int at_cpl1 = vcpu->in_kernel && (*context->hflags & HFLAG_CPL) == KERNEL_CPL;

    if (vector == VECTOR_NM) {
        uint32_t cr0 = context->control[0];

        context->update_cr0(context->env, cr0 & ~CR0_TS);
        bounce_exception(context, vector, 0, *context->rip);
        return;
    }
    if ((vector == VECTOR_GP && vcpu->in_kernel) || vector == VECTOR_UD) {
        if (context->on_fault(vector, error_code, 0))
            return;
    }
    if (at_cpl1 && vector >= 10 && vector <= VECTOR_GP) {
        /* it may be about privilege levels: let the processor decide where they are what they look like */
        enter_cpl3(context);
        return;
    }
    bounce_exception(context, vector, error_code, *context->rip);
}

/* UC_HOOK_INTR */
void xenolith_pv_on_interrupt(void *uc, uint32_t vector, struct trap_context *context)
{
    uint32_t error_code = (uint32_t)context->exception_is_int[-1];
    uint64_t next;

    (void)uc;
    memcpy(&next, context->exception_is_int + 1, 8);
    *context->old_exception = -1;
    if (*context->exception_is_int) {
        *context->exception_is_int = 0;
        software_interrupt(context, vector & 0xff, next);
    } else if (vector == VECTOR_PF) {
        page_fault(context, error_code);
    } else {
        other_exception(context, vector & 0xff, error_code);
    }
    resume(context);
}

/* UC_HOOK_INSN_INVALID */
int xenolith_pv_on_invalid_instruction(void *uc, struct trap_context *context)
{
    xenolith_pv_on_interrupt(uc, VECTOR_UD, context);
    return 1;
}

/* UC_HOOK_INSN for IN and INS, OUT and OUTS: the library would do them for anybody; #GP leaves by siglongjmp() */
uint32_t xenolith_pv_on_port_read(void *uc, uint32_t port, int size, struct trap_context *context)
{
    (void)uc, (void)port, (void)size;
    context->raise(context->env, VECTOR_GP, 0, 0, 0);
    return 0;
}

void xenolith_pv_on_port_write(void *uc, uint32_t port, int size, uint32_t value, struct trap_context *context)
{
    (void)uc, (void)port, (void)size, (void)value;
    context->raise(context->env, VECTOR_GP, 0, 0, 0);
}

/* UC_HOOK_INSN for CPUID, done by the hypervisor's policy; 1: not by the emulator */
int xenolith_pv_on_cpuid(void *uc, struct trap_context *context)
{
    (void)uc;
    context->on_cpuid();
    return 1;
}

/* UC_HOOK_MEM_*_UNMAPPED on addresses that physical ones never are; for its side effect, see _hooks.c */
int xenolith_pv_on_unmapped(void *uc, int type, uint64_t address, int size, int64_t value,
                            struct trap_context *context)
{
    (void)uc, (void)type, (void)address, (void)size, (void)value, (void)context;
    return 0;
}
