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
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "corrections.h"
#include "hook_context.h"

#define EXIT_WRITE_CR4 0x14
#define EXIT_NMI 0x61
#define EXIT_SWINT 0x75

#define EFER_SCE 1u
#define EFLAGS_RF 0x10000u
/* what SYSCALL may change besides the arithmetic flags and DF: TF IF IOPL NT RF VM AC */
#define EFLAGS_CONTROL 0x77300u

#define EFLAGS_VM 0x20000u
#define EFLAGS_IOPL(flags) ((flags) >> 12 & 3)

#define HFLAG2_NMI (1u << 2) /* no other NMI until IRET */

/* cached descriptor attributes of the flat segments that SYSCALL loads (AMD APM volume 3) */
#define DESC_CODE_LONG 0x00a09b00u
#define DESC_CODE_32 0x00c09b00u
#define DESC_DATA 0x00c09300u

/* what an exit handler answers: go on, raise an exception, or deliver an interrupt */
enum { RESUME = 0, RAISE = 1, DELIVER = 2 };

#define IS_SOFTWARE 0x10000u
#define RUN_ABORTED (-1)

/* where a run of the emulator ends that has to be given up; none while Python code runs */
static _Thread_local sigjmp_buf *run_end;

static struct sigaction earlier_abort;

static void on_abort(int signal)
{
    if (run_end)
        siglongjmp(*run_end, 1);
    sigaction(SIGABRT, &earlier_abort, NULL);
    raise(signal);
}

/* Have xenolith_run() notice abort(); whatever else the process has for SIGABRT comes after. */
void xenolith_catch_aborts(void)
{
    struct sigaction action = { .sa_handler = on_abort, .sa_flags = SA_NODEFER }, current;

    if (sigaction(SIGABRT, NULL, &current) == 0 && current.sa_handler != on_abort)
        sigaction(SIGABRT, &action, &earlier_abort);
}

/*
 * Run the emulator. There are states that the library rules out, and calls abort() in; but a guest can bring the
 * processor there, and must not take the process with it. The run returns RUN_ABORTED then, after which the emulator
 * cannot be used any more.
 */
int xenolith_run(int (*emu_start)(void *, uint64_t, uint64_t, uint64_t, size_t), void *uc, uint64_t rip,
                 uint64_t timeout)
{
    sigjmp_buf end;
    int error;

    if (sigsetjmp(end, 0)) {
        run_end = NULL;
        return RUN_ABORTED;
    }
    run_end = &end;
    error = emu_start(uc, rip, 0, timeout, 0);
    run_end = NULL;
    return error;
}

static int call_on_exit(struct hook_context *context, uint32_t code)
{
    sigjmp_buf *end = run_end;
    int verdict;

    run_end = NULL;
    verdict = context->on_exit(code);
    run_end = end;
    return verdict;
}

/*
 * UC_HOOK_INTR: an exception to deliver, or a #VMEXIT to hand to the hypervisor in place, which may be that the guest
 * can take an interrupt. Some #VMEXITs are intercepted for corrections.h alone.
 *
 * A delivery reads the guest's tables. Where those lie at an address at which nothing is, the library jumps back to its
 * loop, which calls this hook with the same number again; now, outside of any access, something can be put there. Where
 * the delivery itself faults, this hook is called with that fault, whose RIP is that from before the delivery.
 */
void xenolith_on_interrupt(void *uc, uint32_t number, struct hook_context *context)
{
    /* INT 13 without the rights raises exception 13, which is another event */
    uint32_t software = *context->exception_is_int ? IS_SOFTWARE : 0;
    bool again = context->delivering == number + 1 + software, within = context->delivering && !again;
    int verdict = DELIVER;

    (void)uc;
    if (context->unmapped) {
        context->unmapped = 0;
        context->on_unmapped(context->unmapped_address);
    } else if (again) {
        /* The library tells of one such address a run. */
        context->undeliverable = 1;
        context->delivering = 0;
        return;
    }
    /* The library moves RIP behind an INT n before it calls; ICEBP's is behind it already, and stays there. */
    if (again ? software : within && (number < EXCP_VMEXIT || (context->delivering & IS_SOFTWARE)))
        *context->rip = context->start;
    else if (!again)
        context->start = *context->rip;
    if (!again) {
        switch (number) {
        case EXCP_VMEXIT + EXIT_WRITE_CR4:
            if (!context->valid_cr4)
                call_on_exit(context, EXIT_WRITE_CR4);
            write_cr4(context);
            return;
        case EXCP_VMEXIT + EXIT_SWINT:
            if (!begin_software_interrupt(context))
                return;
            number = (uint32_t)*context->exception_index;
            software = *context->exception_is_int ? IS_SOFTWARE : 0;
            break;
        case EXCEPTION_UD:
        case EXCEPTION_NM:
        case EXCEPTION_GP:
            if (!within && !software)
                number = correct_exception(context, number);
        }
    }
    if (number >= EXCP_VMEXIT && !again)
        verdict = call_on_exit(context, number - EXCP_VMEXIT);
    if (verdict != DELIVER) {
        context->delivering = 0;
        *context->exception_is_int = 0;
        if (verdict == RAISE)
            context->raise(context->env, context->event_vector, context->event_is_software,
                           context->event_error_code, 0);
        return;
    }
    if (!again && number < EXCP_VMEXIT && !software)
        correct_error_code(context, number, within && !(context->delivering & IS_SOFTWARE));
    context->delivering = number + 1 + software;
    context->interrupting = number >= EXCP_VMEXIT;
    if (context->interrupting) {
        if (number == EXCP_VMEXIT + EXIT_NMI)
            context->hflags[1] |= HFLAG2_NMI;
        context->deliver_interrupt(context->env, context->event_vector, 1);
    } else {
        context->do_interrupt(context->cpu);
    }
    context->delivering = 0;
    /* else the next #VMEXIT would move RIP to the stale exception_next_eip of this INT n */
    *context->exception_is_int = 0;
}

/* UC_HOOK_INSN_INVALID: deliver #UD */
int xenolith_on_invalid_instruction(void *uc, struct hook_context *context)
{
    xenolith_on_interrupt(uc, EXCEPTION_UD, context);
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
        context->raise(context->env, EXCEPTION_UD, 0, 0, 0);
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
    context->unmapped = 1;
    context->unmapped_address = address;
    return 0;
}
