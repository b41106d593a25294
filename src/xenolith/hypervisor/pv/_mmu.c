/*
 * Updates of page tables of level 1, and switches between processes, natively: what page_table.py, mmu_update.py,
 * mmuext_op.py and writable_page_table.py do, for the cases that running guests make by the thousand. Whatever is not
 * such a case is left to them, untouched; tests compare the two.
 */
#include "level1.h"
#include "native_store.h"

/* A word that the guest may write, and a disk of its at any time: it is read once. */
static uint64_t fetch(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/*
 * mmu_update of entries of level 1, and of tables that are not in use yet: 1 done, 0 something else came up,
 * -1 refused
 */
static int mmu_update(struct mmu *mmu, struct native_trap *trap, uint64_t *requests, uint64_t *count)
{
    while (*count) {
        const uint64_t *words[2] = {
            guest_word(mmu, trap->roots[KERNEL], *requests, 0),
            guest_word(mmu, trap->roots[KERNEL], *requests + 8, 0),
        };
        uint64_t kind, address, value, mfn;

        if (!words[0] || !words[1])
            return 0;
        address = fetch(words[0]);
        value = fetch(words[1]);
        kind = address & 3;
        address &= ~(uint64_t)3;
        mfn = address / PAGE_BYTES;
        if ((kind != NORMAL_UPDATE && kind != PRESERVE_AD) || address % 8)
            return 0;
        if (may_be_written(mmu, mfn)) {
            note_change(mmu, word_at(mmu, address), *word_at(mmu, address), value);
            *word_at(mmu, address) = value;
        }
        else if (!is_type(mmu, mfn, TYPE_L1))
            return 0;
        else if (!xenolith_mmu_update_l1(mmu, mfn, address / 8 % ENTRIES, value,
                                         kind == PRESERVE_AD ? ACCESSED | DIRTY : 0))
            return refused(mmu);
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
        return refused(mmu);
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
        const uint64_t *words[2] = {
            guest_word(mmu, trap->roots[KERNEL], *requests, 0),
            guest_word(mmu, trap->roots[KERNEL], *requests + 8, 0),
        };
        uint64_t argument;
        uint32_t command;

        if (!words[0] || !words[1])
            return 0;
        command = fetch(words[0]);
        argument = fetch(words[1]);
        switch (command) {
        case NEW_BASEPTR:
            if (!argument || !load_root(mmu, &trap->roots[KERNEL], argument))
                return 0;
            break;
        case NEW_USER_BASEPTR:
            if (!load_root(mmu, &trap->roots[USER_MODE], argument))
                return 0;
            break;
        default:
            if (command < FIRST_FLUSH || command > LAST_FLUSH)
                return 0;
            if (command % 2 && trap->forget == FORGET_NOTHING) {
                trap->forget = FORGET_PAGE;
                trap->forget_page = argument;
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
        uint64_t words[MULTICALL_WORDS], *result = NULL, entry = registers[RDI];
        int index, outcome = 0;

        for (index = 0; index < MULTICALL_WORDS; index++) {
            uint64_t *word = guest_word(mmu, trap->roots[KERNEL], entry + 8 * index, index == 1);

            if (!word)
                return 0;
            words[index] = fetch(word);
            if (index == 1)
                result = word;
        }
        if (words[0] == UPDATE_VA_MAPPING) {
            outcome = update_va_mapping(mmu, trap, words[2], words[3], words[4]);
        } else if (words[0] == MMU_UPDATE && is_plain_update(words[3], words[4], words[5])) {
            /* what has been done of it when something else comes up can be done again */
            outcome = mmu_update(mmu, trap, &words[2], &words[3]);
        } else if (words[0] == MMUEXT_OP && is_plain_update(words[3], words[4], words[5])) {
            outcome = mmuext_op(mmu, trap, &words[2], &words[3]);
        } else if (words[0] == STACK_SWITCH) {
            *trap->kernel_stack = words[3];
            outcome = 1;
        } else if (words[0] == SET_SEGMENT_BASE) {
            outcome = set_segment_base(trap, words[2], words[3]);
        }
        if (!outcome)
            return 0;
        *result = outcome < 0 ? (uint64_t)-EINVAL : 0;
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
