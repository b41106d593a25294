/*
 * Entries of level 1, natively: what page_table.py does with them, and how they are found.
 */
#ifndef XENOLITH_LEVEL1_H
#define XENOLITH_LEVEL1_H

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
#define AVAILABLE 0x0ff0000000000e00u /* for software */

/* page_type.py */
#define TYPE_SHIFT 28
#define ABSENT (1u << 26)
#define COUNT (ABSENT - 1)
enum { TYPE_L1 = 1, TYPE_L4 = 4, TYPE_SEG_DESC = 5, TYPE_WRITABLE = 7 };
enum { HIDDEN, SHOWN, SHOWN_AND_UNMAPPED };

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
    const uint64_t *frames; /* how many there are */
    uint32_t *info;
    uint8_t *writable_dropped;
    uint64_t version; /* what xen_version says */
    struct table_changes *changes; /* NULL where the engine needs not be told */
    uint8_t *local_tables;
};

/* For whoever hands the structure in: built from another version of this file, it would be something else. */
uint64_t xenolith_mmu_size(void)
{
    return sizeof(struct mmu);
}

/* Store consecutive numbers, as lists of frames are: a large domain has hundreds of millions. */
void xenolith_mmu_count_up(uint64_t *to, uint64_t first, uint64_t count)
{
    uint64_t index;

    for (index = 0; index < count; index++)
        to[index] = first + index;
}

static uint64_t *word_at(const struct mmu *mmu, uint64_t address)
{
    return (uint64_t *)(mmu->memory + address);
}

static int is_type(const struct mmu *mmu, uint64_t mfn, uint32_t type)
{
    return mfn < *mmu->frames && (mmu->info[mfn] & COUNT) && mmu->info[mfn] >> TYPE_SHIFT == type;
}

/* PageTypes.may_be_written */
static int may_be_written(const struct mmu *mmu, uint64_t mfn)
{
    return mfn < *mmu->frames && !(mmu->info[mfn] & ABSENT)
        && (!(mmu->info[mfn] & COUNT) || mmu->info[mfn] >> TYPE_SHIFT == TYPE_WRITABLE);
}

static int get_l1_entry(struct mmu *mmu, uint64_t entry)
{
    uint64_t mfn = (entry & ADDRESS) / PAGE_BYTES;
    uint32_t info;

    if ((entry & L1_DISALLOWED) || mfn >= *mmu->frames || mmu->info[mfn] & ABSENT)
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

    if (!(entry & PRESENT))
        return;
    if (!(entry & WRITABLE)) {
        /* PageTypes.unmapped */
        if (*mmu->local_tables == SHOWN && is_type(mmu, mfn, TYPE_SEG_DESC))
            *mmu->local_tables = SHOWN_AND_UNMAPPED;
        return;
    }
    /*
     * What a table in use lets the guest write, get_l1_entry() has counted as such: the frame exists, and is of this
     * type. If there ever is a way around that, a guest must not choose what of our memory is counted down here; the
     * frame stays in use for good.
     */
    if (!is_type(mmu, mfn, TYPE_WRITABLE))
        return;
    if (!(--mmu->info[mfn] & COUNT)) {
        mmu->info[mfn] &= ABSENT;
        *mmu->writable_dropped = 1;
    }
}

/* TableChanges.add */
static void note_change(struct mmu *mmu, uint64_t *entry, uint64_t old, uint64_t new)
{
    struct table_changes *changes = mmu->changes;
    uint64_t changed = (old ^ new) & ~AVAILABLE;

    if (!changes || !(old & PRESENT) || !(old & ACCESSED) || !changed)
        return;
    if (!(changed & ~(uint64_t)(WRITABLE | DIRTY)) && !(old & ~new))
        return;
    if (changes->count < changes->size)
        changes->entries[changes->count++] = (uint64_t)((uint8_t *)entry - mmu->memory);
    else
        changes->too_many = 1;
}

/* What is refused may not be once LDTs are hidden, which is not done here: 0, or -1 where that is not so. */
static int refused(const struct mmu *mmu)
{
    return *mmu->local_tables == SHOWN_AND_UNMAPPED ? 0 : -1;
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
        note_change(mmu, entry, old, *entry);
        return 1;
    } else {
        if (!get_l1_entry(mmu, value))
            return 0;
        *entry = value | USER | (old & kept);
    }
    note_change(mmu, entry, old, *entry);
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

/*
 * The machine address of the entry of level 1 for an address, and what the entries above it have in common; 0 where
 * there is none.
 */
static uint64_t find_slot_and_rights(const struct mmu *mmu, uint64_t root, uint64_t address, uint64_t *rights)
{
    uint64_t table = root & ADDRESS;
    int shift;

    if ((uint64_t)((int64_t)(address << 16) >> 16) != address || (address >= XEN_START && address < XEN_END))
        return 0;
    for (shift = 39; shift > 12; shift -= 9) {
        uint64_t entry;

        if (table / PAGE_BYTES >= *mmu->frames)
            return 0;
        entry = *word_at(mmu, table + 8 * (address >> shift & 511));
        if (!(entry & PRESENT) || entry & LARGE)
            return 0;
        *rights &= entry;
        table = entry & ADDRESS;
    }
    return table / PAGE_BYTES < *mmu->frames ? table + 8 * (address >> 12 & 511) : 0;
}

static uint64_t find_slot(const struct mmu *mmu, uint64_t root, uint64_t address)
{
    uint64_t rights = ~(uint64_t)0;

    return find_slot_and_rights(mmu, root, address, &rights);
}

/* The word at an aligned address of the guest's; NULL where it has none. */
static uint64_t *guest_word(const struct mmu *mmu, uint64_t root, uint64_t address, int write)
{
    uint64_t wanted = PRESENT | (write ? WRITABLE : 0), rights = ~(uint64_t)0, *entry, mfn;
    uint64_t slot = find_slot_and_rights(mmu, root, address, &rights);

    /* the upper levels count, too: linear ones would show tables */
    if (!slot || address % 8 || (rights & wanted) != wanted)
        return NULL;
    entry = word_at(mmu, slot);
    mfn = (*entry & ADDRESS) / PAGE_BYTES;
    if ((*entry & wanted) != wanted || mfn >= *mmu->frames)
        return NULL;
    *entry |= ACCESSED | (write ? DIRTY : 0);
    return word_at(mmu, (*entry & ADDRESS) + address % PAGE_BYTES);
}

#endif
