/*
 * The hooks by which a PV guest's traps reach its own kernel: exceptions, SYSCALL, the iret hypercall, events.
 *
 * They do what Xen's entry.S does, and are C because they are hot: a system call of a guest's program is two of them,
 * a page fault another two. Python is entered only for what the hypervisor has to decide.
 */
#include "registers.h"

#include "../../pv_traps/entry_points.h"

/* Read guest-virtual memory by the page tables in use, while the vCPU stands still; whether it is all there. */
int xenolith_pv_read(const struct trap_context *context, uint64_t address, void *data, uint64_t size)
{
    return copy(context, address, data, size, 0);
}

/* What is to happen before the guest goes on: events, NMIs, forgetting translations. */
static void resume(struct trap_context *context)
{
    deliver_pending(context);
    if (context->vcpu->engine.flush) {
        context->vcpu->engine.flush = 0;
        context->engine.flush_tlb(context->engine.cpu);
    }
}

void xenolith_pv_resume(struct trap_context *context)
{
    resume(context);
}

/* UC_HOOK_INSN for SYSCALL; the library adds its length to RIP afterwards */
void xenolith_pv_on_syscall(void *uc, struct trap_context *context)
{
    uint64_t *registers = context->engine.registers;

    (void)uc;
    registers[RIP] += SYSCALL_BYTES;
    if (context->vcpu->in_kernel) {
        hypercall(context);
    } else {
        registers[RCX] = registers[RIP];
        registers[R11] = read_flags(context);
        system_call(context, is_64bit_code(segment(context, SEG_CS)));
    }
    resume(context);
    registers[RIP] -= SYSCALL_BYTES;
}

/* UC_HOOK_INSN for SYSENTER; its length is added as above */
void xenolith_pv_on_sysenter(void *uc, struct trap_context *context)
{
    (void)uc;
    sysenter(context);
    resume(context);
    context->engine.registers[RIP] -= SYSCALL_BYTES;
}

/* Whether a fault may be about privilege levels, which in the kernel are not what they look like. */
static int may_be_about_levels(const struct trap_context *context, uint32_t vector)
{
    return vector >= VECTOR_TS && vector <= VECTOR_GP && context->vcpu->in_kernel
        && (*context->engine.hflags & HFLAG_CPL) == KERNEL_CPL;
}

static void exception(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    if (vector == VECTOR_PF) {
        page_fault(context, error_code);
        return;
    }
    if (vector == VECTOR_NM)
        context->engine.update_cr0(context->engine.env, context->engine.control[0] & ~(uint64_t)CR0_TS);
    if (is_emulated(context, vector, error_code))
        return;
    if (may_be_about_levels(context, vector))
        enter_cpl3(context); /* for the processor to decide where they are */
    else
        bounce_exception(context, vector, error_code, context->engine.registers[RIP]);
}

/* UC_HOOK_INTR */
void xenolith_pv_on_interrupt(void *uc, uint32_t vector, struct trap_context *context)
{
    int32_t *is_int = context->engine.exception_is_int;
    uint64_t next;

    (void)uc;
    *context->engine.old_exception = -1;
    if (*is_int) {
        *is_int = 0;
        memcpy(&next, is_int + 1, 8);
        software_interrupt(context, vector & 0xff, next);
    } else {
        exception(context, vector & 0xff, (uint32_t)is_int[-1]);
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
    context->engine.raise(context->engine.env, VECTOR_GP, 0, 0, 0);
    return 0;
}

void xenolith_pv_on_port_write(void *uc, uint32_t port, int size, uint32_t value, struct trap_context *context)
{
    (void)uc, (void)port, (void)size, (void)value;
    context->engine.raise(context->engine.env, VECTOR_GP, 0, 0, 0);
}

/* UC_HOOK_INSN for CPUID, done by the hypervisor's policy; 1: not by the emulator */
int xenolith_pv_on_cpuid(void *uc, struct trap_context *context)
{
    (void)uc;
    if (context->vcpu->engine.faults_cpuid && !context->vcpu->in_kernel)
        context->engine.raise(context->engine.env, VECTOR_GP, 0, 0, 0); /* leaves by siglongjmp() */
    context->engine.on_cpuid();
    return 1;
}

/* UC_HOOK_MEM_*_UNMAPPED on addresses that physical ones never are; for its side effect, see _hooks.c */
int xenolith_pv_on_unmapped(void *uc, int type, uint64_t address, int size, int64_t value,
                            struct trap_context *context)
{
    (void)uc, (void)type, (void)address, (void)size, (void)value, (void)context;
    return 0;
}
