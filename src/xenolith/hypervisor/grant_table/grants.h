/*
 * Grants in use, natively: checking the entries that a guest has written, and counting who uses them, as Xen's
 * common/grant_table.c does with struct active_grant_entry. Backends include this for requests that name hundreds of
 * grants. native.py has the same structures.
 */
#ifndef XENOLITH_GRANTS_H
#define XENOLITH_GRANTS_H

#include <stdint.h>
#include <string.h>

#define PAGE_BYTES 4096u
#define NO_FRAME UINT64_MAX
#define MOST_PINS 128 /* Xen's 8-bit counters are refused another pin once their top bit is set */

enum { GTF_PERMIT_ACCESS = 1, GTF_READONLY = 4, GTF_READING = 8, GTF_WRITING = 16, GTF_SUB_PAGE = 256 };

enum grant_refusal {
    GRANTED,
    NO_REFERENCE,
    NOT_GRANTED,
    READ_ONLY,
    IN_USE_OTHERWISE,
    PINNED_TOO_OFTEN,
    FRAME_IS_NOT_THERE
};

/* Frames of the guest's from gfn on that are the machine's from mfn on, but for those that have a byte set. */
struct plain_ram {
    uint64_t gfn, mfn, count;
    const uint8_t *other; /* count bytes */
};

/* The copy of an entry that holds while it is pinned, whatever the guest writes there. */
struct active_entry {
    uint64_t gfn, mfn; /* mfn is below grants.frames */
    uint32_t readers, writers;
    uint16_t domid, start, length, is_sub_page;
};

struct grants {
    uint8_t *memory; /* of the domain: frames * PAGE_BYTES bytes, mapped as long as the table lives */
    uint64_t frames;
    const uint64_t *shared; /* machine frames that hold the entries: as many as count needs, below frames */
    const uint64_t *status; /* those that hold version 2's status words */
    struct active_entry *active; /* by reference, below count */
    uint32_t *pinned;            /* by machine frame: active entries of it */
    const struct plain_ram *ram;
    uint64_t ram_count;
    uint64_t (*find_frame)(uint64_t gfn); /* what is behind a frame that is not plain RAM, or NO_FRAME */
    uint32_t count, version;
};

/* a place in a frame of ours; callers keep mfn below frames and index within the frame */
static void *grants_at(const struct grants *grants, uint64_t mfn, uint32_t offset)
{
    return grants->memory + mfn * PAGE_BYTES + offset;
}

static const uint64_t *grants_entry(const struct grants *grants, uint32_t ref)
{
    if (grants->version == 1)
        return grants_at(grants, grants->shared[ref / 512], ref % 512 * 8);
    return grants_at(grants, grants->shared[ref / 256], ref % 256 * 16);
}

/* where we say that an entry is in use */
static uint16_t *grants_access(const struct grants *grants, uint32_t ref)
{
    if (grants->version == 1)
        return grants_at(grants, grants->shared[ref / 512], ref % 512 * 8);
    return grants_at(grants, grants->status[ref / 2048], ref % 2048 * 2);
}

static uint64_t grants_find_frame(const struct grants *grants, uint64_t gfn)
{
    uint64_t mfn;

    for (uint64_t i = 0; i < grants->ram_count; i++) {
        const struct plain_ram *ram = &grants->ram[i];

        if (gfn - ram->gfn < ram->count && !ram->other[gfn - ram->gfn])
            return ram->mfn + (gfn - ram->gfn);
    }
    mfn = grants->find_frame(gfn);
    return mfn < grants->frames ? mfn : NO_FRAME;
}

/*
 * What a grant is, if domid may use it so: the entry is read once. ``checked`` are the flags of which only
 * GTF_permit_access may be set.
 */
static enum grant_refusal grants_look(const struct grants *grants, uint32_t ref, uint16_t domid, int readonly,
                                      uint16_t checked, struct active_entry *found)
{
    const uint64_t *entry;
    uint64_t head;

    if (ref >= grants->count)
        return NO_REFERENCE;
    entry = grants_entry(grants, ref);
    head = __atomic_load_n(entry, __ATOMIC_RELAXED);
    *found = grants->active[ref];
    if (found->readers | found->writers) {
        if (found->domid != domid || (checked & GTF_SUB_PAGE && found->is_sub_page))
            return IN_USE_OTHERWISE;
        if (!readonly && !found->writers && head & GTF_READONLY)
            return READ_ONLY;
        return (readonly ? found->readers : found->writers) < MOST_PINS ? GRANTED : PINNED_TOO_OFTEN;
    }
    if ((head & checked) != GTF_PERMIT_ACCESS || (uint16_t)(head >> 16) != domid)
        return NOT_GRANTED;
    if (!readonly && head & GTF_READONLY)
        return READ_ONLY;
    found->domid = domid;
    found->start = 0;
    found->length = PAGE_BYTES;
    found->is_sub_page = 0;
    if (grants->version == 1) {
        found->gfn = head >> 32;
    } else {
        found->gfn = __atomic_load_n(entry + 1, __ATOMIC_RELAXED);
        if (head & GTF_SUB_PAGE) {
            found->start = head >> 32;
            found->length = head >> 48;
            found->is_sub_page = 1;
        }
    }
    found->mfn = grants_find_frame(grants, found->gfn);
    return found->mfn == NO_FRAME ? FRAME_IS_NOT_THERE : GRANTED;
}

static inline enum grant_refusal grants_pin(struct grants *grants, uint32_t ref, uint16_t domid, int readonly,
                                            uint16_t checked)
{
    struct active_entry found;
    enum grant_refusal refusal = grants_look(grants, ref, domid, readonly, checked, &found);

    if (refusal != GRANTED)
        return refusal;
    if (!(found.readers | found.writers))
        grants->pinned[found.mfn]++;
    if (readonly)
        found.readers++;
    else
        found.writers++;
    grants->active[ref] = found;
    __atomic_fetch_or(grants_access(grants, ref), readonly ? GTF_READING : GTF_READING | GTF_WRITING, __ATOMIC_SEQ_CST);
    return GRANTED;
}

/* the caller has pinned it so */
static inline void grants_unpin(struct grants *grants, uint32_t ref, int readonly)
{
    struct active_entry *active = &grants->active[ref];
    uint16_t unused = 0;

    if (readonly)
        active->readers--;
    else
        active->writers--;
    if (!active->writers)
        unused = active->readers ? GTF_WRITING : GTF_READING | GTF_WRITING;
    if (unused)
        __atomic_fetch_and(grants_access(grants, ref), (uint16_t)~unused, __ATOMIC_SEQ_CST);
    if (!(active->readers | active->writers))
        grants->pinned[active->mfn]--;
}

#endif
