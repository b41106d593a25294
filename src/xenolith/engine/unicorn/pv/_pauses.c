/*
 * Notices the PAUSE of a PV guest, which the emulator knows no hook for; pauses.py finds what this needs.
 *
 * Before it goes on after an exception the library asks a function of its machine whether that ends the emulation.
 * PAUSE is such an exception, of the kind by which a run is interrupted (EXCP_INTERRUPT of exec/cpu-all.h), and then
 * RIP is behind it. So that function is replaced by one that looks, and asks the library's own.
 */

#include <stdbool.h>
#include <stdint.h>

#define EXCP_INTERRUPT 0x10000
#define PAUSE_BYTES 2

typedef bool ends_emulation_fn(void *machine, int exception);
typedef int read_fn(void *context, uint64_t address, void *buffer, uint64_t size);

struct pauses {
    struct pauses *next;
    void *machine;
    ends_emulation_fn *ends_emulation;
    const uint64_t *rip;
    read_fn *read; /* xenolith_pv_read() of _traps.c */
    void *read_context;
    void (*on_pause)(void);
};

static struct pauses *all;

uint64_t xenolith_pauses_size(void) { return sizeof(struct pauses); }

static bool behind_pause(const struct pauses *pauses) {
    uint8_t code[PAUSE_BYTES];
    return pauses->read(pauses->read_context, *pauses->rip - PAUSE_BYTES, code, PAUSE_BYTES) && code[0] == 0xf3 &&
           code[1] == 0x90;
}

static bool ends_emulation(void *machine, int exception) {
    struct pauses *pauses = all;
    while (pauses->machine != machine)
        pauses = pauses->next;
    if (exception == EXCP_INTERRUPT && behind_pause(pauses))
        pauses->on_pause();
    return pauses->ends_emulation(machine, exception);
}

/* The structure is the caller's, and stays until it is forgotten. One thread alone has machines made and closed. */
void xenolith_watch_pauses(struct pauses *pauses, ends_emulation_fn **slot) {
    pauses->next = all;
    all = pauses;
    *slot = ends_emulation;
}

void xenolith_forget_pauses(struct pauses *pauses) {
    struct pauses **link = &all;
    while (*link && *link != pauses)
        link = &(*link)->next;
    if (*link)
        *link = pauses->next;
}
