/*
 * The backend's end of a blkif ring, natively: taking requests (public/io/blkif.h) out of it, saying where in the
 * host's memory their sectors are, and answering them, as the macros of public/io/ring.h do. A request of 1 MiB names
 * 256 grants. Nothing here waits or does I/O; requests.py has the same structures.
 *
 * What the guest may write is read once: the index of its requests, each slot, each word of a frame of indirect
 * segments, and each grant entry (grants.h).
 */
#include "../../hypervisor/grant_table/grants.h"

#define SECTOR_SHIFT 9
#define SECTOR_BYTES 512u
#define SECTORS_PER_PAGE 8
#define MOST_SEGMENTS 256
#define MOST_DIRECT_SEGMENTS 11
#define MOST_RING_PAGES 16
#define MOST_SLOT_BYTES 128
#define SEGMENT_BYTES 8u
#define SRING_HEAD_BYTES 64
#define DOM0 0

#define GTF_COPY_FLAGS 3u              /* GTF_type_mask */
#define GTF_MAPPING_FLAGS (3u | GTF_SUB_PAGE)

enum { REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT };
enum { READ, WRITE, WRITE_BARRIER, FLUSH_DISKCACHE, DISCARD = 5, INDIRECT };
enum { OKAY = 0, ERROR = -1, EOPNOTSUPP = -2 };
enum { DISCARD_SECURE = 1 };
enum outcome { EMPTY, TAKEN, REFUSED, BROKEN };

struct vector {
    uint64_t base, bytes; /* struct iovec of the host */
};

/* Guest frames that follow one another. */
struct frame_run {
    uint64_t gfn, count;
};

struct request {
    uint64_t id, offset, bytes; /* of the disk */
    uint64_t guest_bytes;       /* in the vectors, which lie in the domain's memory */
    uint32_t operation;         /* what is to be done: never INDIRECT */
    uint32_t segments, vectors, runs;
    int32_t status;       /* the answer, if it is refused */
    uint32_t refusal, ref; /* why a grant is not to be had, and which */
    uint32_t refs[MOST_SEGMENTS];
    uint64_t frames[MOST_SEGMENTS]; /* of the machine, that the grants are of now */
    struct vector vector[MOST_SEGMENTS];
    struct frame_run run[MOST_SEGMENTS];
};

struct queue {
    struct grants *grants;
    uint8_t *page[MOST_RING_PAGES]; /* frames that are pinned as long as the queue lives */
    uint64_t disk_bytes;
    uint32_t slots, slot_bytes;     /* a power of two that fit into the pages, of at most MOST_SLOT_BYTES each */
    uint32_t id_at, segments_at, indirect_refs_at, response_bytes, status_at; /* the frontend's layout */
    uint32_t consumed, produced;    /* free-running */
    uint32_t claimed;               /* how many requests the frontend says are not answered */
    uint32_t block_sectors;         /* of the logical blocks, a power of two */
    uint32_t writable, discard;     /* what may be asked for */
    struct request request;
};

/* For whoever hands the structure in: built from another version of this file, it would be something else. */
uint64_t xenolith_blkif_size(void)
{
    return sizeof(struct queue);
}

/* one of the words before the first slot, in the first page */
static uint32_t *index_of(const struct queue *queue, int which)
{
    return (uint32_t *)queue->page[0] + which;
}

/* A slot may lie in two pages; bytes is at most slot_bytes, so the second one is there. */
static void copy_slot(const struct queue *queue, uint32_t index, uint8_t *copy, uint32_t bytes, int store)
{
    uint32_t at = SRING_HEAD_BYTES + index % queue->slots * queue->slot_bytes;

    while (bytes) {
        uint32_t room = PAGE_BYTES - at % PAGE_BYTES, part = bytes < room ? bytes : room;
        uint8_t *place = queue->page[at / PAGE_BYTES] + at % PAGE_BYTES;

        memcpy(store ? place : copy, store ? copy : place, part);
        copy += part;
        at += part;
        bytes -= part;
    }
}

static int refuse(struct request *request, int status)
{
    request->status = status;
    request->refusal = GRANTED;
    return REFUSED;
}

static int refuse_grant(struct request *request, enum grant_refusal refusal, uint32_t ref)
{
    request->status = ERROR;
    request->refusal = refusal;
    request->ref = ref;
    return REFUSED;
}

/* one segment more of a request: where it is, unless it is nowhere */
static int add_segment(struct queue *queue, uint64_t raw)
{
    struct request *request = &queue->request;
    uint32_t ref = raw, first = raw >> 32 & 0xff, last = raw >> 40 & 0xff;
    struct active_entry grant;
    enum grant_refusal refusal;
    struct vector *last_vector;
    uint64_t base, bytes;

    if (first > last || last >= SECTORS_PER_PAGE)
        return refuse(request, ERROR);
    refusal = grants_look(queue->grants, ref, DOM0, request->operation != READ, GTF_MAPPING_FLAGS, &grant);
    if (refusal != GRANTED)
        return refuse_grant(request, refusal, ref);
    request->refs[request->segments] = ref;
    request->frames[request->segments++] = grant.mfn;
    base = (uint64_t)(uintptr_t)grants_at(queue->grants, grant.mfn, first * SECTOR_BYTES);
    bytes = (last - first + 1) * SECTOR_BYTES;
    last_vector = request->vectors ? &request->vector[request->vectors - 1] : NULL;
    if (last_vector && last_vector->base + last_vector->bytes == base)
        last_vector->bytes += bytes;
    else
        request->vector[request->vectors++] = (struct vector){ base, bytes };
    request->guest_bytes += bytes;
    /* Linux often has its pages in falling order. */
    if (request->runs) {
        struct frame_run *run = &request->run[request->runs - 1];

        if (grant.gfn == run->gfn + run->count) {
            run->count++;
            return TAKEN;
        }
        if (grant.gfn + 1 == run->gfn) {
            run->gfn--;
            run->count++;
            return TAKEN;
        }
    }
    request->run[request->runs++] = (struct frame_run){ grant.gfn, 1 };
    return TAKEN;
}

/* count is at most MOST_SEGMENTS, of which all are in the first frame */
static int add_indirect(struct queue *queue, uint32_t ref, uint32_t count)
{
    struct active_entry grant;
    enum grant_refusal refusal = grants_look(queue->grants, ref, DOM0, 1, GTF_COPY_FLAGS, &grant);
    int outcome = TAKEN;

    if (refusal != GRANTED)
        return refuse_grant(&queue->request, refusal, ref);
    if (grant.start || grant.length != PAGE_BYTES)
        return refuse_grant(&queue->request, NOT_GRANTED, ref);
    for (uint32_t index = 0; index < count && outcome == TAKEN; index++) {
        const uint64_t *raw = grants_at(queue->grants, grant.mfn, index * SEGMENT_BYTES);

        outcome = add_segment(queue, __atomic_load_n(raw, __ATOMIC_RELAXED));
    }
    return outcome;
}

static int decode(struct queue *queue, const uint8_t *slot)
{
    struct request *request = &queue->request;
    uint32_t operation = slot[0], count = slot[1], ref;
    uint64_t sector, raw, sectors;
    int outcome = TAKEN;

    memcpy(&request->id, slot + queue->id_at, 8);
    memcpy(&sector, slot + queue->id_at + 8, 8);
    request->operation = operation == INDIRECT ? slot[1] : operation;
    request->segments = request->vectors = request->runs = 0;
    request->guest_bytes = 0;
    request->status = OKAY;
    if (operation > INDIRECT || operation == DISCARD - 1)
        return refuse(request, EOPNOTSUPP);
    if (operation == INDIRECT && request->operation != READ && request->operation != WRITE)
        return refuse(request, EOPNOTSUPP);
    if (operation == DISCARD && (!queue->discard || slot[1] & DISCARD_SECURE))
        return refuse(request, EOPNOTSUPP);
    if (request->operation != READ && request->operation != FLUSH_DISKCACHE && !queue->writable)
        return refuse(request, ERROR);
    if (operation == DISCARD) {
        memcpy(&sectors, slot + queue->id_at + 16, 8);
    } else if (operation == INDIRECT) {
        uint16_t indirect;

        memcpy(&indirect, slot + 2, sizeof(indirect));
        memcpy(&ref, slot + queue->indirect_refs_at, sizeof(ref));
        if (!indirect || indirect > MOST_SEGMENTS)
            return refuse(request, ERROR);
        outcome = add_indirect(queue, ref, indirect);
    } else {
        if (count > MOST_DIRECT_SEGMENTS || (!count && (operation == READ || operation == WRITE)))
            return refuse(request, ERROR);
        for (uint32_t index = 0; index < count && outcome == TAKEN; index++) {
            memcpy(&raw, slot + queue->segments_at + SEGMENT_BYTES * index, SEGMENT_BYTES);
            outcome = add_segment(queue, raw);
        }
    }
    if (outcome != TAKEN)
        return outcome;
    if (operation != DISCARD)
        sectors = request->guest_bytes >> SECTOR_SHIFT;
    /* a flush without data is of no place */
    if (sectors || operation == DISCARD) {
        if (sectors > queue->disk_bytes >> SECTOR_SHIFT || sector > (queue->disk_bytes >> SECTOR_SHIFT) - sectors)
            return refuse(request, ERROR);
        if ((sector | sectors) & (queue->block_sectors - 1))
            return refuse(request, ERROR);
    } else {
        sector = 0;
    }
    request->offset = sector << SECTOR_SHIFT;
    request->bytes = sectors << SECTOR_SHIFT;
    return TAKEN;
}

/* How many requests wait, or more than there are slots. */
uint32_t xenolith_blkif_waiting(struct queue *queue)
{
    uint32_t requests = __atomic_load_n(index_of(queue, REQ_PROD), __ATOMIC_ACQUIRE);

    queue->claimed = requests - queue->produced;
    if (queue->claimed > queue->slots)
        return queue->slots + 1;
    return requests - queue->consumed;
}

/* Whether the ring can be served: its indices make sense. */
int xenolith_blkif_start(struct queue *queue)
{
    /* a frontend that had another backend goes on where that one stopped */
    queue->consumed = queue->produced = __atomic_load_n(index_of(queue, RSP_PROD), __ATOMIC_RELAXED);
    return xenolith_blkif_waiting(queue) <= queue->slots;
}

/* Takes the next request into queue->request; if there is none, the frontend is asked to send an event with it. */
int xenolith_blkif_take(struct queue *queue)
{
    uint8_t slot[MOST_SLOT_BYTES];
    uint32_t requests = xenolith_blkif_waiting(queue);

    if (!requests) {
        __atomic_store_n(index_of(queue, REQ_EVENT), queue->consumed + 1, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        requests = xenolith_blkif_waiting(queue);
        if (!requests)
            return EMPTY;
    }
    if (requests > queue->slots)
        return BROKEN;
    copy_slot(queue, queue->consumed++, slot, queue->slot_bytes, 0);
    return decode(queue, slot);
}

/* Puts a response into the next slot; xenolith_blkif_push() shows it. */
void xenolith_blkif_respond(struct queue *queue, uint64_t id, uint32_t operation, int32_t status)
{
    uint8_t response[16] = { 0 };
    int16_t answer = status;

    memcpy(response, &id, sizeof(id));
    response[sizeof(id)] = operation;
    memcpy(response + queue->status_at, &answer, sizeof(answer));
    copy_slot(queue, queue->produced++, response, queue->response_bytes, 1);
}

/* Shows the guest all responses; whether it wants an event for that. */
int xenolith_blkif_push(struct queue *queue)
{
    uint32_t old = __atomic_load_n(index_of(queue, RSP_PROD), __ATOMIC_RELAXED), event;

    __atomic_store_n(index_of(queue, RSP_PROD), queue->produced, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = __atomic_load_n(index_of(queue, RSP_EVENT), __ATOMIC_RELAXED);
    return queue->produced - event < queue->produced - old;
}
