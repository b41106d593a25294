/*
 * What the library does otherwise than the architecture, put right when the event that comes of it is delivered:
 * which exception it is, its error code, and the RIP that it is reported at (AMD APM volume 2, chapter 8; Intel SDM
 * volume 3, chapter 6).
 */
#ifndef XENOLITH_UNICORN_CORRECTIONS_H
#define XENOLITH_UNICORN_CORRECTIONS_H

#include "instruction.h"

#define EXCEPTION_DB 1
#define EXCEPTION_BP 3
#define EXCEPTION_OF 4
#define EXCEPTION_UD 6
#define EXCEPTION_NM 7
#define EXCEPTION_TS 10
#define EXCEPTION_NP 11
#define EXCEPTION_SS 12
#define EXCEPTION_GP 13

#define ERROR_EXTERNAL 1u /* the fault came of the delivery of an event that no INT n caused */
#define ERROR_IDT 2u      /* the error code names a gate */

#define CR0_EM (1u << 2)
#define CR4_PAE (1u << 5)
#define CR4_OSFXSR (1u << 9)
enum { CR0 = 0, CR4 = 4 };

static int32_t *error_code(struct hook_context *context)
{
    return context->exception_is_int - 1; /* as cpu_layout.py has found them */
}

static uint64_t *next_rip(struct hook_context *context)
{
    return (uint64_t *)(context->exception_is_int + 1);
}

/*
 * In long mode the library gives the offset of a gate, where the architecture has 8 times its number; and it never
 * says that an event came from outside.
 */
static void correct_error_code(struct hook_context *context, uint32_t number, bool is_external)
{
    int32_t *code = error_code(context);

    if ((number == EXCEPTION_NP || number == EXCEPTION_GP) && (*context->hflags & HFLAG_LMA)
        && ((uint32_t)*code & ERROR_IDT))
        *code = *code >> 4 << 3 | (*code & 7);
    if (is_external && number >= EXCEPTION_TS && number <= EXCEPTION_GP)
        *code |= ERROR_EXTERNAL;
}

/* Whether what the library calls #NM is undefined, since it asks whether the FPU is another task's first. */
static bool is_undefined(struct hook_context *context)
{
    struct instruction instruction = read_opcode(context);
    uint8_t opcode = instruction.opcode;

    if (!instruction.map)
        return false; /* x87 and WAIT */
    if (instruction.map == 0x0f && opcode == 0xae && !(next_byte(context, &instruction) & 0x30))
        return false; /* FXSAVE and FXRSTOR */
    if (context->control[CR0] & CR0_EM)
        return true;
    if (context->control[CR4] & CR4_OSFXSR)
        return false;
    return instruction.selects
        || (instruction.map == 0x0f && ((opcode & 0xf8) == 0x10 || (opcode & 0xf8) == 0x28 || (opcode & 0xf0) == 0x50
                                        || opcode == 0xae || opcode == 0xc2 || opcode == 0xc6));
}

/* Whether what the library calls #GP is a stack fault: it tells of an address that is not canonical, not of what for. */
static bool is_stack_fault(struct hook_context *context)
{
    struct instruction instruction;
    uint64_t address;

    if (*error_code(context) || !(*context->hflags & HFLAG_CS64))
        return false;
    instruction = read_opcode(context);
    if (is_stack_only(&instruction))
        return !is_canonical(context->registers[RSP]);
    if (instruction.short_address || instruction.segment == PREFIX_FS || instruction.segment == PREFIX_GS
        || !has_modrm(&instruction))
        return false;
    return is_stack_operand(context, &instruction, &address) && !is_canonical(address);
}

/* Begin the trap that ICEBP is, if it is that which the library, not knowing it, calls #UD. */
static bool begin_icebp(struct hook_context *context)
{
    struct instruction instruction = read_opcode(context);

    if (instruction.map || instruction.opcode != 0xf1 || instruction.locks)
        return false;
    *context->rip += instruction.length;
    return true;
}

/* The exception that it ought to be; the one that it is where the instruction cannot be read. */
static uint32_t correct_exception(struct hook_context *context, uint32_t number)
{
    if (!context->reading) {
        context->reading = 1;
        if (number == EXCEPTION_UD && begin_icebp(context))
            number = EXCEPTION_DB;
        else if (number == EXCEPTION_NM && is_undefined(context))
            number = EXCEPTION_UD;
        else if (number == EXCEPTION_GP && is_stack_fault(context))
            number = EXCEPTION_SS;
        *context->exception_index = (int32_t)number;
    }
    context->reading = 0;
    return number;
}

/*
 * Begin the delivery of the INT n, INT3 or INTO at RIP, whose #VMEXIT came before it: the library alone would forget
 * where the instruction began, which is where a fault of the delivery is reported; and it does not mind LOCK. Answers
 * whether it is one of these still.
 */
static bool begin_software_interrupt(struct hook_context *context)
{
    struct instruction instruction = read_opcode(context);
    int32_t vector;

    switch (instruction.map ? 0 : instruction.opcode) {
    case 0xcc:
        vector = EXCEPTION_BP;
        break;
    case 0xcd:
        vector = next_byte(context, &instruction);
        break;
    case 0xce:
        vector = EXCEPTION_OF;
        break;
    default:
        return false;
    }
    *context->exception_index = instruction.locks ? EXCEPTION_UD : vector;
    *context->exception_is_int = !instruction.locks;
    *error_code(context) = 0;
    *next_rip(context) = *context->rip + instruction.length;
    return true;
}

/* MOV to CR4, of which the library checks nothing: #GP for what the processor does not have. */
static void write_cr4(struct hook_context *context)
{
    struct instruction instruction = read_opcode(context);
    uint8_t modrm = next_byte(context, &instruction);
    uint64_t value = context->registers[(modrm & 7) | ((instruction.rex & REX_B) ? 8 : 0)];

    if (instruction.map != 0x0f || instruction.opcode != 0x22)
        return; /* there is another instruction by now */
    if (!(*context->hflags & HFLAG_CS64))
        value = (uint32_t)value;
    if ((value & ~context->valid_cr4) || ((*context->hflags & HFLAG_LMA) && !(value & CR4_PAE)))
        context->raise(context->env, EXCEPTION_GP, 0, 0, 0); /* does not return */
    context->update_cr4(context->env, (uint32_t)value);
    *context->rip += instruction.length;
}

#endif
