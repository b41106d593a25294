/* Traps and callbacks of a PV guest. */
#ifndef PV_TRAPS_H
#define PV_TRAPS_H

#include <stdbool.h>
#include <stdint.h>

#include <xen/callback.h>

#include "pv_layout.h"

enum {
    DE = 0, DB = 1, NMI = 2, BP = 3, OF = 4, UD = 6, NM = 7, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14,
};

/* error code of a page fault */
enum { PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_FETCH = 16 };

#define EFLAGS_TF (1u << 8)
#define EFLAGS_IF (1u << 9)

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error_code;
    uint64_t rip;
    uint16_t cs, reserved;
    uint32_t saved_mask;
    uint64_t rflags, rsp, ss;
};

struct fault {
    uint64_t vector, error_code, rip, cr2, rflags, cs, ss, saved_mask;
};

/* of a vCPU that runs: GS is at it in kernel mode */
struct vcpu {
    struct vcpu *self;
    unsigned int id;
    void **recovery;
    struct fault fault;
};

extern struct vcpu vcpus[MAX_VCPUS];
extern uint64_t failsafe_selectors[4]; /* DS ES FS GS */

static inline struct vcpu *this_vcpu(void)
{
    struct vcpu *vcpu;

    __asm__ volatile("mov %%gs:0, %0" : "=r"(vcpu));
    return vcpu;
}

#define CALLBACK(kind) (CALLBACK_VECTOR + CALLBACKTYPE_##kind)

/* what a vector or CALLBACK() calls */
typedef void (*handler_t)(struct frame *frame);
void set_handler(unsigned int vector, handler_t handler);

void recover(struct frame *frame); /* what becomes of a trap that has none: it ends catch_fault(), or the guest */

long register_callback(unsigned int kind, uint64_t address, unsigned int flags);
void register_trap(unsigned int vector, unsigned int flags); /* to the runtime's own entry, too */
uint64_t callback_address(unsigned int kind); /* the runtime's own entry */

/* Run code up to its end, or to the first trap or callback that has no handler, and tell what that was. */
#define catch_fault(result, code) do { \
        void *recovery_[5]; \
        this_vcpu()->fault = (struct fault){ .vector = NO_FAULT }; \
        this_vcpu()->recovery = recovery_; \
        if (!__builtin_setjmp(recovery_)) { code; } \
        this_vcpu()->recovery = NULL; \
        (result) = this_vcpu()->fault; \
    } while (0)

#define NO_FAULT ~0ul

/* code must fault with a vector and error code */
#define expect_fault(code, vector_, error_code_) do { \
        struct fault fault_; \
        catch_fault(fault_, code); \
        expect_equal(fault_.vector, vector_); \
        if (fault_.vector == (vector_)) expect_equal(fault_.error_code, error_code_); \
    } while (0)

/* have Xen go on by a frame as it is for HYPERVISOR_iret */
struct iret_frame {
    uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
};
void iret(const struct iret_frame *frame) __attribute__((noreturn));

/* the frame with which code of a program's begins, on a stack that all programs use in turn */
struct iret_frame program_frame(uint64_t cs, const void *code);

/* code of a program's, which ends in UD2 */
#define USER_CODE(name, code) \
    extern const uint8_t name[]; \
    __asm__(".section .text; .code64; .globl " #name "; " #name ": " code "; ud2")

void traps_init_vcpu(unsigned int id);

/* start another vCPU at a function */
void start_vcpu_at(unsigned int id, void (*function)(void));

shared_info_t *shared_info(void);
vcpu_info_t *vcpu_info(unsigned int id);

#endif
