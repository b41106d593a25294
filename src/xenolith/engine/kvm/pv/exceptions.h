/*
 * Exceptions of a PV guest on KVM, the vCPU's registers those of the guest.
 *
 * All that traps arrives here as an exception, but for 64-bit SYSCALL; so what is none is found out first.
 */
#ifndef XENOLITH_KVM_EXCEPTIONS_H
#define XENOLITH_KVM_EXCEPTIONS_H

#include "registers.h"

#include "../../pv_traps/traps.h"

#define INT_OPCODE 0xcd
#define INT3_OPCODE 0xcc
#define INTO_OPCODE 0xce

/*
 * INT n is #GP for want of a gate. On KVMs that emulate ring 0, and with it 32-bit code, it is #UD, and so are other
 * instructions there that are meant to trap, or #GP without an error code.
 */
static int might_be_software(const struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    if (vector == VECTOR_GP)
        return error_code ? (error_code & (GP_IDT | GP_EXTERNAL)) == GP_IDT : !context->vcpu->in_kernel;
    return vector == VECTOR_UD;
}

/* Handle an instruction that is meant to trap, by what it is: there are processors with a wrong error code for INT n. */
static int is_software(struct trap_context *context)
{
    uint64_t *registers = general_registers(context), rip = registers[RIP];
    uint8_t code[INT_BYTES] = { 0 };

    if (!copy(context, rip, code, sizeof(code), 0) && !copy(context, rip, code, 1, 0))
        return 0;
    if (code[0] == INT3_OPCODE) {
        software_interrupt(context, VECTOR_BP, rip + 1);
    } else if (code[0] == INT_OPCODE) {
        software_interrupt(context, code[1], rip + INT_BYTES);
    } else if (is_64bit_code(segment(context, SEG_CS)) || context->vcpu->in_kernel) {
        return 0;
    } else if (code[0] == INTO_OPCODE) {
        software_interrupt(context, VECTOR_OF, rip + 1);
    } else if (code[0] == 0x0f && code[1] == 0x34) {
        sysenter(context);
    } else if (code[0] == 0x0f && code[1] == 0x05) {
        context->engine.counts[COUNT_SYSCALLS]++;
        registers[RIP] = registers[RCX] = rip + SYSCALL_BYTES;
        registers[R11] = read_flags(context);
        system_call(context, 0);
    } else {
        return 0;
    }
    return 1;
}

static void exception(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    if (vector == VECTOR_PF) {
        context->engine.counts[COUNT_PAGE_FAULTS]++;
        page_fault(context, error_code);
        return;
    }
    context->engine.counts[COUNT_OTHERS]++;
    if (vector == VECTOR_NM)
        special(context)->cr0 &= ~(uint64_t)CR0_TS;
    if (might_be_software(context, vector, error_code) && is_software(context))
        return;
    if (!is_emulated(context, vector, error_code))
        bounce_exception(context, vector, error_code, general_registers(context)[RIP]);
}

#endif
