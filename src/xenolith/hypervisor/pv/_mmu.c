/*
 * Updates of page tables of level 1, and switches between processes, natively: what page_table.py, mmu_update.py,
 * mmuext_op.py and writable_page_table.py do, for the cases that running guests make by the thousand. Whatever is not such a case is left to them, untouched; tests
 * compare the two.
 */
#include <string.h>

#include "../../engine/native_calls.h"

#define PAGE_BYTES 4096u
#define ENTRIES 512
#define EINVAL 22

#define PRESENT 1u
#define WRITABLE 2u
#define USER 4u
#define ACCESSED 0x20u
#define DIRTY 0x40u
#define LARGE 0x80u
#define L1_DISALLOWED 0x98u
#define ADDRESS 0x000ffffffffff000u

/* page_type.py */
#define TYPE_SHIFT 28
#define ABSENT (1u << 26)
#define COUNT (ABSENT - 1)
enum { TYPE_L1 = 1, TYPE_L4 = 4, TYPE_WRITABLE = 7 };

#define XEN_START 0xffff800000000000u
#define XEN_END 0xffff880000000000u

enum { RAX = 0, RCX = 1, RDX = 2, RSI = 6, RDI = 7, R10 = 10, RIP = 16 };
enum {
    MMU_UPDATE = 1,
    STACK_SWITCH = 3,
    MULTICALL = 13,
    UPDATE_VA_MAPPING = 14,
    XEN_VERSION = 17,
    SET_SEGMENT_BASE = 25,
    MMUEXT_OP = 26
};
enum { NEW_BASEPTR = 5, FIRST_FLUSH = 6, LAST_FLUSH = 11, NEW_USER_BASEPTR = 15 };
enum { SEGBASE_FS = 0, SEGBASE_GS_USER = 1, SEGBASE_GS_KERNEL = 2 };
enum { USER_MODE = 0, KERNEL = 1 };
enum { NORMAL_UPDATE = 0, PRESERVE_AD = 2 };
enum { UVMF_FLUSH = 1, UVMF_INVLPG = 2, UVMF_MASK = 3 };

#define DOMID_SELF 0x7ff0u
#define MOST_UPDATES 512
#define MOST_CALLS 256
#define MULTICALL_WORDS 8

#define CF 1u
#define PF 4u
#define AF 0x10u
#define ZF 0x40u
#define SF 0x80u
#define OF 0x800u
#define ARITHMETIC (CF | PF | AF | ZF | SF | OF)

struct mmu {
    uint8_t *memory;
    uint64_t frames;
    uint32_t *info;
    uint8_t *writable_dropped;
    uint64_t version; /* what xen_version says */
};

/* For whoever hands the structure in: built from another version of this file, it would be something else. */
uint64_t xenolith_mmu_size(void)
{
    return sizeof(struct mmu);
}

static uint64_t *word_at(const struct mmu *mmu, uint64_t address)
{
    return (uint64_t *)(mmu->memory + address);
}

static int is_type(const struct mmu *mmu, uint64_t mfn, uint32_t type)
{
    return mfn < mmu->frames && (mmu->info[mfn] & COUNT) && mmu->info[mfn] >> TYPE_SHIFT == type;
}

static int get_l1_entry(struct mmu *mmu, uint64_t entry)
{
    uint64_t mfn = (entry & ADDRESS) / PAGE_BYTES;
    uint32_t info;

    if ((entry & L1_DISALLOWED) || mfn >= mmu->frames || mmu->info[mfn] & ABSENT)
        return 0;
    if (!(entry & WRITABLE))
        return 1;
    info = mmu->info[mfn];
    if (!(info & COUNT))
        mmu->info[mfn] = (uint32_t)TYPE_WRITABLE << TYPE_SHIFT | 1;
    else if (info >> TYPE_SHIFT == TYPE_WRITABLE && (info & COUNT) != COUNT)
        mmu->info[mfn] = info + 1;
    else
        return 0;
    return 1;
}

static void put_l1_entry(struct mmu *mmu, uint64_t entry)
{
    uint64_t mfn = (entry & ADDRESS) / PAGE_BYTES;

    if (!(entry & PRESENT) || !(entry & WRITABLE))
        return;
    if (!(--mmu->info[mfn] & COUNT)) {
        mmu->info[mfn] &= ABSENT;
        *mmu->writable_dropped = 1;
    }
}

/* PageTables.update_l1; whether it was allowed */
int xenolith_mmu_update_l1(struct mmu *mmu, uint64_t mfn, uint32_t index, uint64_t value, uint64_t kept)
{
    uint64_t *entry = word_at(mmu, mfn * PAGE_BYTES) + index, old = *entry;

    if (!(value & PRESENT)) {
        *entry = value;
    } else if (!((old ^ value) & (ADDRESS | PRESENT | WRITABLE))) {
        if (value & L1_DISALLOWED)
            return 0;
        *entry = value | USER | (old & kept);
        return 1;
    } else {
        if (!get_l1_entry(mmu, value))
            return 0;
        *entry = value | USER | (old & kept);
    }
    put_l1_entry(mmu, old);
    return 1;
}

/* Count what a page of entries uses; the first entry that is not allowed, after nothing has changed, or -1. */
int xenolith_mmu_validate_l1(struct mmu *mmu, uint64_t mfn)
{
    uint64_t *table = word_at(mmu, mfn * PAGE_BYTES);
    int index, undone;

    for (index = 0; index < ENTRIES; index++) {
        if (!(table[index] & PRESENT))
            continue;
        if (!get_l1_entry(mmu, table[index])) {
            for (undone = 0; undone < index; undone++)
                put_l1_entry(mmu, table[undone]);
            return index;
        }
    }
    for (index = 0; index < ENTRIES; index++)
        if (table[index] & PRESENT)
            table[index] |= USER;
    return -1;
}

void xenolith_mmu_invalidate_l1(struct mmu *mmu, uint64_t mfn)
{
    uint64_t *table = word_at(mmu, mfn * PAGE_BYTES);
    int index;

    for (index = 0; index < ENTRIES; index++)
        put_l1_entry(mmu, table[index]);
}

/* The machine address of the entry of level 1 for an address; 0 where there is none. */
static uint64_t find_slot(const struct mmu *mmu, uint64_t root, uint64_t address)
{
    uint64_t table = root & ADDRESS;
    int shift;

    if ((uint64_t)((int64_t)(address << 16) >> 16) != address || (address >= XEN_START && address < XEN_END))
        return 0;
    for (shift = 39; shift > 12; shift -= 9) {
        uint64_t entry;

        if (table / PAGE_BYTES >= mmu->frames)
            return 0;
        entry = *word_at(mmu, table + 8 * (address >> shift & 511));
        if (!(entry & PRESENT) || entry & LARGE)
            return 0;
        table = entry & ADDRESS;
    }
    return table / PAGE_BYTES < mmu->frames ? table + 8 * (address >> 12 & 511) : 0;
}

/* The word at an aligned address of the guest's; NULL where it has none. */
static uint64_t *guest_word(const struct mmu *mmu, uint64_t root, uint64_t address, int write)
{
    uint64_t slot = find_slot(mmu, root, address), wanted = PRESENT | (write ? WRITABLE : 0), *entry, mfn;

    if (!slot || address % 8)
        return NULL;
    entry = word_at(mmu, slot);
    mfn = (*entry & ADDRESS) / PAGE_BYTES;
    if ((*entry & wanted) != wanted || mfn >= mmu->frames)
        return NULL;
    *entry |= ACCESSED | (write ? DIRTY : 0);
    return word_at(mmu, (*entry & ADDRESS) + address % PAGE_BYTES);
}

/* mmu_update of entries of level 1: 1 done, 0 something else came up, -1 refused */
static int mmu_update(struct mmu *mmu, struct native_trap *trap, uint64_t *requests, uint64_t *count)
{
    while (*count) {
        const uint64_t *pointer = guest_word(mmu, trap->roots[KERNEL], *requests, 0);
        const uint64_t *value = guest_word(mmu, trap->roots[KERNEL], *requests + 8, 0);
        uint64_t kind, address;

        if (!pointer || !value)
            return 0;
        kind = *pointer & 3;
        address = *pointer & ~(uint64_t)3;
        if ((kind != NORMAL_UPDATE && kind != PRESERVE_AD) || address % 8
            || !is_type(mmu, address / PAGE_BYTES, TYPE_L1))
            return 0;
        if (!xenolith_mmu_update_l1(mmu, address / PAGE_BYTES, address / 8 % ENTRIES, *value,
                                    kind == PRESERVE_AD ? ACCESSED | DIRTY : 0))
            return -1;
        *requests += 16;
        --*count;
    }
    return 1;
}

static int update_va_mapping(struct mmu *mmu, struct native_trap *trap, uint64_t address, uint64_t value,
                             uint64_t flags)
{
    uint64_t slot = find_slot(mmu, trap->roots[KERNEL], address);

    if (!slot || !is_type(mmu, slot / PAGE_BYTES, TYPE_L1))
        return 0;
    if (!xenolith_mmu_update_l1(mmu, slot / PAGE_BYTES, slot / 8 % ENTRIES, value, 0))
        return -1;
    if ((flags & UVMF_MASK) == UVMF_FLUSH || ((flags & UVMF_MASK) == UVMF_INVLPG && trap->forget != FORGET_NOTHING)) {
        trap->forget = FORGET_ALL;
        *mmu->writable_dropped = 0;
    } else if ((flags & UVMF_MASK) == UVMF_INVLPG) {
        trap->forget = FORGET_PAGE;
        trap->forget_page = address;
    }
    return 1;
}

static int load_root(struct mmu *mmu, uint64_t *root, uint64_t mfn)
{
    uint64_t old = *root / PAGE_BYTES;

    /* a table that nothing else holds would have to be given up, entry by entry */
    if (mfn && (!is_type(mmu, mfn, TYPE_L4) || (mmu->info[mfn] & COUNT) == COUNT))
        return 0;
    if (old && (mmu->info[old] & COUNT) < 2)
        return 0;
    if (mfn)
        mmu->info[mfn]++;
    if (old)
        mmu->info[old]--;
    *root = mfn * PAGE_BYTES;
    return 1;
}

/* mmuext_op that changes page tables, as a switch between processes does, or flushes: 1 done, 0 something else */
static int mmuext_op(struct mmu *mmu, struct native_trap *trap, uint64_t *requests, uint64_t *count)
{
    while (*count) {
        const uint64_t *command = guest_word(mmu, trap->roots[KERNEL], *requests, 0);
        const uint64_t *argument = guest_word(mmu, trap->roots[KERNEL], *requests + 8, 0);

        if (!command || !argument)
            return 0;
        switch ((uint32_t)*command) {
        case NEW_BASEPTR:
            if (!*argument || !load_root(mmu, &trap->roots[KERNEL], *argument))
                return 0;
            break;
        case NEW_USER_BASEPTR:
            if (!load_root(mmu, &trap->roots[USER_MODE], *argument))
                return 0;
            break;
        default:
            if ((uint32_t)*command < FIRST_FLUSH || (uint32_t)*command > LAST_FLUSH)
                return 0;
            if ((uint32_t)*command % 2 && trap->forget == FORGET_NOTHING) {
                trap->forget = FORGET_PAGE;
                trap->forget_page = *argument;
                *requests += 24;
                --*count;
                continue;
            }
        }
        trap->forget = FORGET_ALL;
        *mmu->writable_dropped = 0;
        *requests += 24;
        --*count;
    }
    return 1;
}

static int set_segment_base(struct native_trap *trap, uint64_t which, uint64_t base)
{
    if ((uint64_t)((int64_t)(base << 16) >> 16) != base)
        return 0;
    switch (which) {
    case SEGBASE_FS:
        *trap->fs_base = base;
        return 1;
    case SEGBASE_GS_USER:
        *trap->gs_base_user = base;
        return 1;
    case SEGBASE_GS_KERNEL:
        *trap->gs_base_kernel = base;
        return 1;
    }
    return 0;
}

static int is_plain_update(uint64_t count, uint64_t done, uint64_t domid)
{
    return count <= MOST_UPDATES && !done && domid == DOMID_SELF;
}

static int multicall(struct mmu *mmu, struct native_trap *trap, uint64_t *registers)
{
    int calls;

    for (calls = 0; calls < MOST_CALLS && registers[RSI]; calls++) {
        uint64_t *words[MULTICALL_WORDS], entry = registers[RDI];
        int index, outcome = 0;

        for (index = 0; index < MULTICALL_WORDS; index++) {
            words[index] = guest_word(mmu, trap->roots[KERNEL], entry + 8 * index, index == 1);
            if (!words[index])
                return 0;
        }
        if (*words[0] == UPDATE_VA_MAPPING) {
            outcome = update_va_mapping(mmu, trap, *words[2], *words[3], *words[4]);
        } else if (*words[0] == MMU_UPDATE && is_plain_update(*words[3], *words[4], *words[5])) {
            uint64_t requests = *words[2], count = *words[3];

            /* what has been done of it when something else comes up can be done again */
            outcome = mmu_update(mmu, trap, &requests, &count);
        } else if (*words[0] == MMUEXT_OP && is_plain_update(*words[3], *words[4], *words[5])) {
            uint64_t requests = *words[2], count = *words[3];

            outcome = mmuext_op(mmu, trap, &requests, &count);
        } else if (*words[0] == STACK_SWITCH) {
            *trap->kernel_stack = *words[3];
            outcome = 1;
        } else if (*words[0] == SET_SEGMENT_BASE) {
            outcome = set_segment_base(trap, *words[2], *words[3]);
        }
        if (!outcome)
            return 0;
        *words[1] = outcome < 0 ? (uint64_t)-EINVAL : 0;
        registers[RDI] += 8 * MULTICALL_WORDS;
        registers[RSI]--;
    }
    return !registers[RSI];
}

/* native_call for hypercalls */
int xenolith_mmu_hypercall(struct mmu *mmu, struct native_trap *trap)
{
    uint64_t *registers = trap->registers;
    int outcome = 0;

    switch ((uint32_t)registers[RAX]) {
    case XEN_VERSION:
        if (registers[RDI])
            return 0;
        registers[RAX] = mmu->version;
        return 1;
    case UPDATE_VA_MAPPING:
        outcome = update_va_mapping(mmu, trap, registers[RDI], registers[RSI], registers[RDX]);
        break;
    case MMU_UPDATE:
        if (is_plain_update(registers[RSI], registers[RDX], registers[R10]))
            outcome = mmu_update(mmu, trap, &registers[RDI], &registers[RSI]);
        break;
    case MMUEXT_OP:
        if (is_plain_update(registers[RSI], registers[RDX], registers[R10]))
            outcome = mmuext_op(mmu, trap, &registers[RDI], &registers[RSI]);
        break;
    case STACK_SWITCH:
        *trap->kernel_stack = registers[RSI];
        outcome = 1;
        break;
    case SET_SEGMENT_BASE:
        outcome = set_segment_base(trap, registers[RDI], registers[RSI]);
        break;
    case MULTICALL:
        if (registers[RSI] >> 32 == 0)
            outcome = multicall(mmu, trap, registers);
        break;
    }
    if (outcome)
        registers[RAX] = outcome < 0 ? (uint64_t)-EINVAL : 0;
    return outcome != 0;
}

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
    if (!slot || !(*word_at(mmu, slot) & PRESENT) || (*word_at(mmu, slot) & ADDRESS) / PAGE_BYTES >= mmu->frames)
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
