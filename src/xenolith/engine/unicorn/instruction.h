/*
 * Reads the instruction at RIP as far as its operand in memory: prefixes, opcode, ModRM, SIB and displacement
 * (AMD APM volume 3, section 1.2). Only for instructions that the processor itself has just read.
 */
#ifndef XENOLITH_UNICORN_INSTRUCTION_H
#define XENOLITH_UNICORN_INSTRUCTION_H

#include <stdbool.h>
#include <stdint.h>

#include "hook_context.h"

#define INSTRUCTION_BYTES_MAX 15

#define PREFIX_FS 0x64
#define PREFIX_GS 0x65
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

struct instruction {
    uint32_t length;       /* bytes read */
    uint32_t map;          /* 0, or which table the opcode is of: 0x0f, 0x0f38, 0x0f3a */
    uint8_t opcode;
    uint8_t rex;
    uint8_t segment;       /* the last prefix for one, or 0 */
    bool selects;          /* whether a prefix 66, f2 or f3 may select another instruction */
    bool short_address;    /* prefix 67 */
    bool locks;            /* prefix f0 */
};

static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* 0 where no instruction can be */
static uint8_t next_byte(struct hook_context *context, struct instruction *instruction)
{
    uint64_t address = context->segments[SEG_CS].base + *context->rip + instruction->length++;

    if (!(*context->hflags & HFLAG_CS64))
        address = (uint32_t)address;
    if (instruction->length > INSTRUCTION_BYTES_MAX || !is_canonical(address))
        return 0;
    return (uint8_t)context->load_code(context->env, address);
}

/* Read prefixes and opcode. */
static struct instruction read_opcode(struct hook_context *context)
{
    struct instruction instruction = { 0 };
    bool is_64_bit = *context->hflags & HFLAG_CS64;

    while (instruction.length < INSTRUCTION_BYTES_MAX) {
        uint8_t byte = next_byte(context, &instruction);

        switch (byte) {
        case 0x26: case 0x2e: case 0x36: case 0x3e: case PREFIX_FS: case PREFIX_GS:
            instruction.segment = byte;
            break;
        case 0x66: case 0xf2: case 0xf3:
            instruction.selects = true;
            break;
        case 0x67:
            instruction.short_address = true;
            break;
        case 0xf0:
            instruction.locks = true;
            break;
        default:
            if (is_64_bit && byte >> 4 == 4) {
                instruction.rex = byte;
                continue;
            }
            instruction.opcode = byte;
            if (byte == 0x0f) {
                instruction.map = byte;
                instruction.opcode = next_byte(context, &instruction);
                if (instruction.opcode == 0x38 || instruction.opcode == 0x3a) {
                    instruction.map = instruction.map << 8 | instruction.opcode;
                    instruction.opcode = next_byte(context, &instruction);
                }
            }
            return instruction;
        }
        instruction.rex = 0; /* counts only right before the opcode */
    }
    return instruction;
}

/* Whether an instruction of 64-bit mode has a ModRM byte; those that say no may have none or no operand in memory. */
static bool has_modrm(const struct instruction *instruction)
{
    uint8_t opcode = instruction->opcode;

    switch (instruction->map) {
    case 0:
        return (opcode < 0x40 && (opcode & 7) < 4) || opcode == 0x63 || opcode == 0x69 || opcode == 0x6b
            || (opcode >= 0x80 && opcode <= 0x8f) || (opcode & 0xfe) == 0xc0 || (opcode & 0xfe) == 0xc6
            || (opcode >= 0xd0 && opcode <= 0xd3) || (opcode & 0xf8) == 0xd8 || (opcode & 0xf6) == 0xf6;
    case 0x0f:
        return !(opcode >= 0x05 && opcode <= 0x0c) && !(opcode >= 0x30 && opcode <= 0x3f) && opcode != 0x77
            && (opcode & 0xf0) != 0x80 && !((opcode & 0xf0) == 0xa0 && (opcode & 7) <= 2)
            && !(opcode >= 0xc8 && opcode <= 0xcf);
    }
    return true;
}

/* Whether an instruction of 64-bit mode pushes or pops, and does nothing else with memory. */
static bool is_stack_only(const struct instruction *instruction)
{
    uint8_t opcode = instruction->opcode;

    if (instruction->map == 0x0f)
        return (opcode & 0xf6) == 0xa0; /* FS and GS */
    return !instruction->map
        && ((opcode & 0xf0) == 0x50 || (opcode & 0xfd) == 0x68 || (opcode & 0xfe) == 0xc2
            || (opcode & 0xfe) == 0xc8 || (opcode & 0xfe) == 0x9c || opcode == 0xe8 || opcode == 0xcf);
}

/* The operand in memory of an instruction of 64-bit mode: whether it lies on the stack's segment, and where. */
static bool is_stack_operand(struct hook_context *context, struct instruction *instruction, uint64_t *address)
{
    uint8_t modrm = next_byte(context, instruction), mode = modrm >> 6, base = modrm & 7;
    uint64_t index = 0;

    if (mode == 3)
        return false;
    if (base == 4) {
        uint8_t sib = next_byte(context, instruction);
        uint32_t number = (sib >> 3 & 7) | ((instruction->rex & REX_X) ? 8 : 0);

        base = sib & 7;
        if (number != RSP)
            index = context->registers[number] << (sib >> 6);
    }
    if ((instruction->rex & REX_B) || !(base == RSP || (base == RBP && mode)))
        return false;
    *address = context->registers[base] + index;
    if (mode == 1)
        *address += (uint64_t)(int64_t)(int8_t)next_byte(context, instruction);
    if (mode == 2) {
        uint32_t displacement = 0;

        for (int shift = 0; shift < 32; shift += 8)
            displacement |= (uint32_t)next_byte(context, instruction) << shift;
        *address += (uint64_t)(int64_t)(int32_t)displacement;
    }
    return true;
}

#endif
