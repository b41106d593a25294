/*
 * The hooks that the Unicorn engine calls for exceptions, #VMEXITs, SYSCALL and port I/O.
 *
 * They are C for two reasons. Delivering an exception may itself fault, and then the library leaves by
 * siglongjmp(): that may cross these frames but must never cross a Python frame. And they are hot: a page
 * fault costs one call, a system call another.
 *
 * Every pointer in struct hook_context is computed and verified by cpu_layout.py before the first
 * instruction runs.
 */
#include <stddef.h>
#include <stdint.h>

#define EXCP_VMEXIT 0x100 /* numbers from here on are #VMEXIT codes */
#define EXCEPTION_UD 6
#define EXCEPTION_NP 11
#define EXCEPTION_GP 13
#define ERROR_IDT 2u /* the error code names a gate */

#define EFER_SCE 1u
#define EFLAGS_RF 0x10000u
/* what SYSCALL may change besides the arithmetic flags and DF: TF IF IOPL NT RF VM AC */
#define EFLAGS_CONTROL 0x77300u

#define EFLAGS_VM 0x20000u
#define EFLAGS_IOPL(flags) ((flags) >> 12 & 3)

#define HFLAG_CPL 3u
#define HFLAG_CS32 (1u << 4)
#define HFLAG_SS32 (1u << 5)
#define HFLAG_ADDSEG (1u << 6)
#define HFLAG_PE (1u << 7)
#define HFLAG_LMA (1u << 14)
#define HFLAG_CS64 (1u << 15)

/* cached descriptor attributes of the flat segments that SYSCALL loads (AMD APM volume 3) */
#define DESC_CODE_LONG 0x00a09b00u
#define DESC_CODE_32 0x00c09b00u
#define DESC_DATA 0x00c09300u

enum { RCX = 1, R11 = 11 };
enum { SEG_CS = 1, SEG_SS = 2 };

/* what an exit handler answers */
enum { RESUME = 0, RAISE = 1 };

struct segment {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
};

struct hook_context {
    void *cpu;
    void *env;
    uint64_t *registers;
    uint64_t *rip;
    uint64_t *eflags; /* the control flags; the arithmetic ones are computed lazily */
    uint32_t *hflags;
    struct segment *segments;
    uint64_t *efer, *star, *lstar, *cstar, *fmask;
    int32_t *exception_is_int;
    void (*do_interrupt)(void *cpu);
    uint64_t (*read_eflags)(void *env);
    void (*write_eflags)(void *env, uint64_t value, uint32_t mask);
    void (*raise)(void *env, int vector, int error_code);
    void (*check_port[3])(void *env, uint32_t port); /* by size: 1, 2, 4 bytes */
    int (*on_exit)(uint32_t code);
    uint32_t (*on_port_read)(uint32_t port, int size);
    void (*on_port_write)(uint32_t port, int size, uint32_t value);
    int32_t raise_vector, raise_error_code;
    uint64_t unmapped_address;
};

/* In long mode the library gives the offset of a gate, where the architecture has 8 times its number. */
static void correct_error_code(struct hook_context *context, uint32_t number)
{
    int32_t *error_code = context->exception_is_int - 1; /* as cpu_layout.py has found them */

    if ((number == EXCEPTION_NP || number == EXCEPTION_GP) && (*context->hflags & HFLAG_LMA)
        && ((uint32_t)*error_code & ERROR_IDT))
        *error_code = *error_code >> 4 << 3 | (*error_code & 7);
}

/* UC_HOOK_INTR: an exception to deliver, or a #VMEXIT to hand to the hypervisor in place */
void xenolith_on_interrupt(void *uc, uint32_t number, struct hook_context *context)
{
    (void)uc;
    if (number >= EXCP_VMEXIT) {
        if (context->on_exit(number - EXCP_VMEXIT) == RAISE)
            context->raise(context->env, context->raise_vector, context->raise_error_code);
        return;
    }
    correct_error_code(context, number);
    context->do_interrupt(context->cpu);
    /* else the next #VMEXIT would move RIP to the stale exception_next_eip of this INT n */
    *context->exception_is_int = 0;
}

/* UC_HOOK_INSN_INVALID: deliver #UD */
int xenolith_on_invalid_instruction(void *uc, struct hook_context *context)
{
    (void)uc;
    context->do_interrupt(context->cpu);
    *context->exception_is_int = 0;
    return 1;
}

static void load_flat_segment(struct segment *segment, uint32_t selector, uint32_t flags)
{
    segment->selector = selector;
    segment->base = 0;
    segment->limit = 0xffffffff;
    segment->flags = flags;
}

/* UC_HOOK_INSN for SYSCALL, which the library leaves to its user; it adds the length 2 to RIP afterwards */
void xenolith_on_syscall(void *uc, struct hook_context *context)
{
    uint64_t flags, target;
    uint32_t hflags = *context->hflags;
    uint32_t selector = (uint32_t)(*context->star >> 32) & 0xfffc;

    (void)uc;
    if (!(*context->efer & EFER_SCE)) {
        context->raise(context->env, EXCEPTION_UD, 0);
        return;
    }
    flags = context->read_eflags(context->env);
    hflags &= ~(HFLAG_CPL | HFLAG_CS32 | HFLAG_SS32 | HFLAG_ADDSEG | HFLAG_CS64);
    hflags |= HFLAG_CS32 | HFLAG_SS32;
    if (hflags & HFLAG_LMA) {
        target = (*context->hflags & HFLAG_CS64) ? *context->lstar : *context->cstar;
        context->registers[RCX] = *context->rip + 2;
        context->registers[R11] = flags & ~(uint64_t)EFLAGS_RF;
        load_flat_segment(&context->segments[SEG_CS], selector, DESC_CODE_LONG);
        hflags |= HFLAG_CS64;
        flags &= ~(*context->fmask | EFLAGS_RF);
    } else {
        target = (uint32_t)*context->star;
        context->registers[RCX] = (uint32_t)(*context->rip + 2);
        load_flat_segment(&context->segments[SEG_CS], selector, DESC_CODE_32);
        flags &= ~(uint64_t)(0x200 | 0x20000 | EFLAGS_RF);
    }
    load_flat_segment(&context->segments[SEG_SS], selector + 8, DESC_DATA);
    *context->hflags = hflags;
    context->write_eflags(context->env, flags, EFLAGS_CONTROL);
    *context->rip = target - 2;
}

/*
 * The library lets every program do port I/O and leaves the rights to its user: below IOPL the bitmap in the TSS
 * decides. The check raises #GP by siglongjmp() where that says no.
 */
static void check_port(struct hook_context *context, uint32_t port, int size)
{
    uint32_t hflags = *context->hflags, flags = (uint32_t)*context->eflags;

    if ((hflags & HFLAG_PE) && ((flags & EFLAGS_VM) || (hflags & HFLAG_CPL) > EFLAGS_IOPL(flags)))
        context->check_port[size >> 1](context->env, port);
}

/* UC_HOOK_INSN for IN and INS */
uint32_t xenolith_on_port_read(void *uc, uint32_t port, int size, struct hook_context *context)
{
    (void)uc;
    check_port(context, port, size);
    return context->on_port_read(port, size);
}

/* UC_HOOK_INSN for OUT and OUTS */
void xenolith_on_port_write(void *uc, uint32_t port, int size, uint32_t value,
                            struct hook_context *context)
{
    (void)uc;
    check_port(context, port, size);
    context->on_port_write(port, size, value);
}

/*
 * UC_HOOK_MEM_*_UNMAPPED: note the guest-physical address and let the run end, so that the engine can put something
 * there. The hook is for kernel addresses, too, which physical addresses never are, for what it does to the library:
 * where such a hook exists it does not search its whole TLB for the page of every block that it translates. The
 * search is for pages that are written and executed through one address but with different rights; kernels that do
 * so flush the TLB in between.
 */
int xenolith_on_unmapped(void *uc, int type, uint64_t address, int size, int64_t value,
                         struct hook_context *context)
{
    (void)uc, (void)type, (void)size, (void)value;
    context->unmapped_address = address;
    return 0;
}
