/*
 * What the grant table's Python calls of grants.h. References that are unpinned are those that were pinned, and below
 * the count, which does not shrink meanwhile.
 */
#include "grants.h"

/* For whoever hands the structure in: built from another version of this file, it would be something else. */
uint64_t xenolith_grants_size(void)
{
    return sizeof(struct grants);
}

int xenolith_grants_look(const struct grants *grants, uint32_t ref, uint16_t domid, int readonly, uint16_t checked,
                         struct active_entry *found)
{
    return grants_look(grants, ref, domid, readonly, checked, found);
}

int xenolith_grants_pin(struct grants *grants, uint32_t ref, uint16_t domid, int readonly, uint16_t checked)
{
    return grants_pin(grants, ref, domid, readonly, checked);
}

void xenolith_grants_unpin(struct grants *grants, uint32_t ref, int readonly)
{
    grants_unpin(grants, ref, readonly);
}

/*
 * Pins all of the references or none, each of which must be of the frame that an earlier look at it has found; how many
 * could be, and why not the one after them.
 */
uint32_t xenolith_grants_pin_all(struct grants *grants, const uint32_t *refs, const uint64_t *frames, uint32_t count,
                                 uint16_t domid, int readonly, uint16_t checked, int *refusal)
{
    uint32_t done = 0;

    while (done < count) {
        *refusal = grants_pin(grants, refs[done], domid, readonly, checked);
        if (*refusal == GRANTED && grants->active[refs[done]].mfn != frames[done]) {
            grants_unpin(grants, refs[done], readonly);
            *refusal = NOT_GRANTED;
        }
        if (*refusal != GRANTED) {
            for (uint32_t undone = 0; undone < done; undone++)
                grants_unpin(grants, refs[undone], readonly);
            break;
        }
        done++;
    }
    return done;
}

void xenolith_grants_unpin_all(struct grants *grants, const uint32_t *refs, uint32_t count, int readonly)
{
    for (uint32_t i = 0; i < count; i++)
        grants_unpin(grants, refs[i], readonly);
}

/* Whether an entry from reference ``first`` on is in use. */
int xenolith_grants_any_in_use(const struct grants *grants, uint32_t first)
{
    for (uint32_t ref = first; ref < grants->count; ref++)
        if (grants->active[ref].readers | grants->active[ref].writers)
            return 1;
    return 0;
}
