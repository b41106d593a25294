/* Exceptions and interrupts. */
#ifndef TRAPS_H
#define TRAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "smp.h"

enum {
    DE = 0, DB = 1, NMI = 2, BP = 3, UD = 6, DF = 8, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14,
};

/* error code of a page fault */
enum { PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_RESERVED = 8, PF_FETCH = 16 };

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error_code;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* what a vector calls, with interrupts off */
typedef void (*handler_t)(struct frame *frame);
void set_handler(unsigned int vector, handler_t handler);

/*
 * Run code, up to its end or to the first exception, software interrupt or system call without a handler, and tell
 * what that was. It may be code that entered user mode.
 */
#define catch_fault(result, code) do { \
        struct vcpu *vcpu_ = this_vcpu(); \
        void *recovery_[5]; \
        vcpu_->fault = (struct fault){ .vector = -1 }; \
        vcpu_->recovery = recovery_; \
        if (!__builtin_setjmp(recovery_)) { code; } \
        vcpu_ = this_vcpu(); \
        vcpu_->recovery = NULL; \
        (result) = vcpu_->fault; \
    } while (0)

#define NO_FAULT -1

/* code must fault with a vector and error code */
#define expect_fault(code, vector_, error_code_) do { \
        struct fault fault_; \
        catch_fault(fault_, code); \
        expect_equal(fault_.vector, vector_); \
        if (fault_.vector == (vector_)) expect_equal(fault_.error_code, error_code_); \
    } while (0)

/* go on in user mode at an address; ends by a fault */
void enter_user_mode(uint64_t rip, uint64_t rsp, uint64_t rflags);

void traps_init_vcpu(struct vcpu *vcpu); /* the runtime's own */

#endif
