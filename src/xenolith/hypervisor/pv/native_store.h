/*
 * Stores of a PV guest's kernel to its page tables of level 1, natively: see writable_page_table.py.
 */
#ifndef XENOLITH_NATIVE_STORE_H
#define XENOLITH_NATIVE_STORE_H

#include "level1.h"

static uint64_t logic_flags(uint64_t result, int size)
{
    uint64_t flags = __builtin_parity((uint8_t)result) ? 0 : PF;

    return flags | (result ? 0 : ZF) | (result >> (8 * size - 1) & 1 ? SF : 0);
}

/* Bytes of ModRM, SIB and displacement of a memory operand. */
static int operand_length(const uint8_t *modrm)
{
    int mod = modrm[0] >> 6, rm = modrm[0] & 7, length = 1;

    if (mod == 1)
        length += 1;
    else if (mod == 2 || rm == 5)
        length += 4;
    if (rm == 4) {
        length += 1;
        if (mod == 0 && (modrm[1] & 7) == 5)
            length += 4;
    }
    return length;
}

/*
 * native_call for stores of the kernel's to pages that it can only read: the forms in which Linux changes entries of
 * level 1.
 */
int xenolith_mmu_store(struct mmu *mmu, struct native_trap *trap)
{
    uint64_t *registers = trap->registers, rip = registers[RIP], slot, entry, value, old, mask;
    uint64_t flags = 0, changed = 0, mfn, *leaf;
    uint8_t code[24] = { 0 };
    const uint8_t *modrm;
    int at = 0, rex = 0, size, length, number, shift, loads = 0;
    uint32_t opcode;

    slot = find_slot(mmu, trap->roots[KERNEL], trap->address);
    if (!slot)
        return 0;
    leaf = word_at(mmu, slot);
    mfn = (*leaf & ADDRESS) / PAGE_BYTES;
    if (!(*leaf & PRESENT) || !is_type(mmu, mfn, TYPE_L1))
        return 0;
    if (rip % PAGE_BYTES > PAGE_BYTES - 16)
        return 0;
    slot = find_slot(mmu, trap->roots[KERNEL], rip);
    if (!slot || !(*word_at(mmu, slot) & PRESENT) || (*word_at(mmu, slot) & ADDRESS) / PAGE_BYTES >= *mmu->frames)
        return 0;
    memcpy(code, mmu->memory + (*word_at(mmu, slot) & ADDRESS) + rip % PAGE_BYTES, 15);

    if (code[at] == 0xf0)
        at++;
    if ((code[at] & 0xf0) == 0x40)
        rex = code[at++];
    opcode = code[at++];
    if (opcode == 0x0f)
        opcode = 0x0f00 | code[at++];
    modrm = code + at;
    number = (modrm[0] >> 3 & 7) | (rex & 4) << 1;
    size = opcode == 0x80 ? 1 : rex & 8 ? 8 : 4;
    length = at + operand_length(modrm);
    if (modrm[0] >> 6 == 3 || trap->address % size)
        return 0;
    shift = 8 * (trap->address % 8);
    mask = size == 8 ? ~(uint64_t)0 : ((uint64_t)1 << 8 * size) - 1;
    entry = *word_at(mmu, mfn * PAGE_BYTES + (trap->address & 0xff8));
    old = value = entry >> shift & mask;
    switch (opcode) {
    case 0x87: /* XCHG */
        loads = 1;
        value = registers[number];
        break;
    case 0x89: /* MOV */
        value = registers[number];
        break;
    case 0xc7:
        if (number & 7)
            return 0;
        {
            int32_t immediate;

            memcpy(&immediate, code + length, 4);
            value = (uint64_t)(int64_t)immediate;
            length += 4;
        }
        break;
    case 0x80: /* AND with a byte */
    case 0x83:
        if ((number & 7) != 4)
            return 0;
        value = old & (uint64_t)(int64_t)(int8_t)code[length++] & mask;
        changed = ARITHMETIC;
        flags = logic_flags(value, size);
        break;
    case 0x0fba: /* BTR with a number */
    case 0x0fb3:
    {
        uint64_t bit = 1;

        if (opcode == 0x0fba && (number & 7) != 6)
            return 0;
        bit <<= (opcode == 0x0fba ? code[length++] : registers[number]) & (8 * size - 1);
        changed = CF;
        flags = old & bit ? CF : 0;
        value = old & ~bit;
        break;
    }
    case 0x0fb1: /* CMPXCHG that succeeds */
        if ((registers[RAX] & mask) != old)
            return 0;
        value = registers[number];
        changed = ARITHMETIC;
        flags = ZF | PF;
        break;
    default:
        return 0;
    }
    value &= mask;
    if (!xenolith_mmu_update_l1(mmu, mfn, trap->address / 8 % ENTRIES, (entry & ~(mask << shift)) | value << shift, 0))
        return 0;
    if (loads)
        registers[number] = old;
    trap->rflags = (trap->rflags & ~changed) | flags;
    registers[RIP] = rip + length;
    return 1;
}

#endif
