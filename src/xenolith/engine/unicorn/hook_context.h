/* What the C hooks know of one machine and its processor; hooks.py has struct hook_context, too. */
#ifndef XENOLITH_UNICORN_HOOK_CONTEXT_H
#define XENOLITH_UNICORN_HOOK_CONTEXT_H

#include <stdint.h>

#define EXCP_VMEXIT 0x100 /* exceptions with numbers from here on are #VMEXIT codes */

#define HFLAG_CPL 3u
#define HFLAG_CS32 (1u << 4)
#define HFLAG_SS32 (1u << 5)
#define HFLAG_ADDSEG (1u << 6)
#define HFLAG_PE (1u << 7)
#define HFLAG_LMA (1u << 14)
#define HFLAG_CS64 (1u << 15)

enum { RCX = 1, RSP = 4, RBP = 5, R11 = 11 };
enum { SEG_CS = 1, SEG_SS = 2 };

struct segment {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
};

struct hook_context {
    void *cpu;
    void *env;
    uint64_t *registers;
    uint64_t *rip;
    uint64_t *eflags; /* the control flags; the arithmetic ones are computed lazily */
    uint32_t *hflags; /* hflags2 follows */
    struct segment *segments;
    uint64_t *efer, *star, *lstar, *cstar, *fmask;
    uint64_t *control; /* CR0 and on */
    int32_t *exception_index;
    int32_t *exception_is_int; /* the error code is before it, where an INT n ends behind it */
    void (*do_interrupt)(void *cpu);
    uint64_t (*read_eflags)(void *env);
    void (*write_eflags)(void *env, uint64_t value, uint32_t mask);
    void (*raise)(void *env, int vector, int is_software, int error_code, int length);
    void (*deliver_interrupt)(void *env, int vector, int is_hardware);
    uint32_t (*load_code)(void *env, uint64_t address); /* one byte, by its linear address */
    void (*update_cr4)(void *env, uint32_t value);
    void (*check_port[3])(void *env, uint32_t port); /* by size: 1, 2, 4 bytes */
    int (*on_exit)(uint32_t code);
    uint32_t (*on_port_read)(uint32_t port, int size);
    void (*on_port_write)(uint32_t port, int size, uint32_t value);
    void (*on_unmapped)(uint64_t address);
    uint64_t valid_cr4; /* the bits that the guest may set, or 0 before an exit has asked for them */
    int32_t event_vector, event_error_code, event_is_software; /* what RAISE and DELIVER are about */
    uint32_t delivering;    /* the exception or #VMEXIT that is being delivered: its number plus 1, IS_SOFTWARE */
    uint32_t interrupting;  /* whether that is an interrupt or NMI */
    uint32_t undeliverable; /* whether an event had to be given up */
    uint32_t unmapped;      /* whether the run ends because nothing is at unmapped_address */
    uint64_t unmapped_address;
    uint64_t start;         /* RIP when the delivery began: of an INT n, where that is */
    uint32_t reading;       /* whether an instruction is being read, which may fault */
};

#endif
