/*
 * Short cuts on the emulator's slow paths of memory access; short_cuts.py finds what they need and puts them in.
 *
 * The library looks the memory region of a physical address up for each access that its TLB does not serve alone,
 * by a walk; here it is one comparison. And it sends every store to a page that may also be executed down that
 * path, in case code was translated from it. While Linux boots, all of its data lies in such pages. So whatever
 * enters the TLB for the sake of data is made not executable there: executing it enters it anew, and from then on its
 * stores are watched.
 *
 * A page may be in the TLB at several addresses and for several modes. As long as one of them executes it, none may
 * store to it unwatched: for each page it is noted who does either. Before the other kind comes they go, and so does the
 * code of the page.
 *
 * Names and layouts are those of Unicorn's accel/tcg/cputlb.c and include/exec/cpu-defs.h.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define PAGE_BITS 12
#define ENTRY_BITS 6
#define PAGE_MASK (~((UINT64_C(1) << PAGE_BITS) - 1))
#define NOWHERE UINT64_MAX
#define CACHED_PAGES 1024
#define CHUNK_BITS 18 /* pages whose users are noted together: 1 GiB of memory */
#define CHUNKS 2048   /* 2 TiB of memory: more than a machine can have */

/*
 * What the TLB may hold of a page: nothing, or by its low bits who executes it, or who stores to it unwatched. The
 * address and the mode are those of the one entry there is, unless there may be several. What the TLB has dropped may
 * still be noted.
 */
#define EXECUTED 1u
#define STORED_TO 2u
#define SEVERAL 4u
#define KIND (EXECUTED | STORED_TO)
#define MODE_SHIFT 3

enum access { DATA_LOAD, DATA_STORE, INSTRUCTION_FETCH };

/* CPUTLBEntry */
struct tlb_entry {
    uint64_t read, write, code, physical;
    uintptr_t addend;
    uint64_t padding[3];
};

_Static_assert(sizeof(struct tlb_entry) == 1 << ENTRY_BITS, "CPU_TLB_ENTRY_BITS");

/* CPUTLBDescFast; the mask is in bytes. */
struct tlb {
    uintptr_t mask;
    struct tlb_entry *entries;
};

typedef void *find_region_fn(void *machine, uint64_t address);
typedef bool fill_tlb_fn(void *cpu, uint64_t address, int size, int access, int mode, bool probe, uintptr_t caller);
typedef uint64_t ram_address_fn(void *machine, void *host_address);
typedef void forget_code_fn(void *machine, uint64_t start, uint64_t end);
typedef void flush_tlb_fn(void *cpu);
typedef void flush_page_fn(void *cpu, uint64_t address);

struct library {
    find_region_fn *find_region;
    fill_tlb_fn *fill_tlb;
    ram_address_fn *ram_address;
    forget_code_fn *forget_code;
    flush_tlb_fn *flush_tlb;
    flush_page_fn *flush_page;
};

struct short_cuts {
    struct short_cuts *next;
    struct library library;
    void *machine, *cpu;
    struct tlb *tlbs; /* one for each MMU mode */
    uint64_t *users[CHUNKS]; /* of each page, by its number among those that the library knows; from its first use on */
    struct {
        uint64_t page;
        void *region;
    } cached[CACHED_PAGES];
};

static struct short_cuts *all;

static void *find_region(void *machine, uint64_t address) {
    struct short_cuts *cuts = all;
    while (cuts->machine != machine)
        cuts = cuts->next;
    uint64_t page = address >> PAGE_BITS;
    unsigned index = page % CACHED_PAGES;
    if (cuts->cached[index].page == page)
        return cuts->cached[index].region;
    void *region = cuts->library.find_region(machine, address);
    /* Regions come, but never go; where there is none yet, one may come. */
    if (region) {
        cuts->cached[index].page = page;
        cuts->cached[index].region = region;
    }
    return region;
}

static struct tlb_entry *tlb_entry(const struct tlb *tlb, uint64_t address) {
    return (struct tlb_entry *)((char *)tlb->entries + ((address >> PAGE_BITS << ENTRY_BITS) & tlb->mask));
}

/* What is noted of a page; NULL where there is no memory for notes. */
static uint64_t *user_of(struct short_cuts *cuts, uint64_t start) {
    uint64_t page = start >> PAGE_BITS, **chunk;
    if (page >> CHUNK_BITS >= CHUNKS)
        return NULL;
    chunk = &cuts->users[page >> CHUNK_BITS];
    if (!*chunk)
        *chunk = calloc(UINT64_C(1) << CHUNK_BITS, sizeof **chunk);
    return *chunk ? &(*chunk)[page & ((1 << CHUNK_BITS) - 1)] : NULL;
}

/*
 * Note that an entry uses a page, in memory of the machine from ``start`` on, in one way; those that use it in the other
 * go, and so does code that was translated from it. Whether any such entry might have been there.
 */
static bool note_user(
    struct short_cuts *cuts, uint64_t *user, uint64_t start, uint64_t page, int mode, unsigned kind
) {
    uint64_t own = page | (uint64_t)mode << MODE_SHIFT | kind, before = *user;
    if ((before & KIND) == kind) {
        if (before != own)
            *user |= SEVERAL;
        return false;
    }
    *user = own;
    if (before & EXECUTED)
        cuts->library.forget_code(cuts->machine, start, start + (1 << PAGE_BITS));
    if (!before || !((before ^ own) & ~(uint64_t)KIND))
        return false;
    if (before & SEVERAL)
        cuts->library.flush_tlb(cuts->cpu);
    else
        cuts->library.flush_page(cuts->cpu, before & PAGE_MASK);
    return true;
}

static bool fill_tlb(void *cpu, uint64_t address, int size, int access, int mode, bool probe, uintptr_t caller) {
    struct short_cuts *cuts = all;
    while (cuts->cpu != cpu)
        cuts = cuts->next;
    const struct tlb *tlb = &cuts->tlbs[mode];
    uint64_t page = address & PAGE_MASK;
    /* Such as the page that this very access is made from, and that it may be about to change. */
    bool executed = access == INSTRUCTION_FETCH || tlb_entry(tlb, address)->code == page;
    /* Where the guest may not go, this leaves by siglongjmp(), across frames that hold nothing. */
    if (!cuts->library.fill_tlb(cpu, address, size, access, mode, probe, caller))
        return false;
    struct tlb_entry *entry = tlb_entry(tlb, address);
    /* What is no RAM says so in the low bits. */
    if (entry->read != page || (!executed && entry->write == NOWHERE))
        return true;
    uint64_t start = cuts->library.ram_address(cuts->machine, (void *)(uintptr_t)(page + entry->addend));
    uint64_t *user = user_of(cuts, start);
    if (!user) {
        cuts->library.forget_code(cuts->machine, start, start + (1 << PAGE_BITS));
        return true;
    }
    if (access == DATA_LOAD && !executed && *user & EXECUTED) {
        /* a program's text that is read, by a copy of it in the page cache, say: a store will come back here */
        entry->write = entry->code = NOWHERE;
        return true;
    }
    if (note_user(cuts, user, start, page, mode, executed ? EXECUTED : STORED_TO)) {
        /* The entry itself may have gone as well. */
        if (!cuts->library.fill_tlb(cpu, address, size, access, mode, probe, caller))
            return false;
        entry = tlb_entry(tlb, address);
    }
    if (!executed)
        entry->code = NOWHERE;
    return true;
}

/*
 * Put the short cuts into a machine: the slots hold the library's functions, at most one CPU runs at a time.
 * Returns 0, or -1 where there is no memory.
 */
int xenolith_take_short_cuts(
    void *machine, void *cpu, struct tlb *tlbs, const struct library *library, find_region_fn **region_slot,
    fill_tlb_fn **fill_slot
) {
    struct short_cuts *cuts = calloc(1, sizeof *cuts);
    if (!cuts)
        return -1;
    cuts->library = *library;
    cuts->machine = machine;
    cuts->cpu = cpu;
    cuts->tlbs = tlbs;
    for (unsigned index = 0; index < CACHED_PAGES; index++)
        cuts->cached[index].page = NOWHERE;
    cuts->next = all;
    all = cuts;
    *region_slot = find_region;
    *fill_slot = fill_tlb;
    return 0;
}

/* Forget a machine that is closed. */
void xenolith_leave_short_cuts(void *machine) {
    for (struct short_cuts **link = &all; *link; link = &(*link)->next) {
        if ((*link)->machine == machine) {
            struct short_cuts *cuts = *link;
            *link = cuts->next;
            for (unsigned chunk = 0; chunk < CHUNKS; chunk++)
                free(cuts->users[chunk]);
            free(cuts);
            return;
        }
    }
}
