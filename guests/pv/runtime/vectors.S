/* Where traps and callbacks enter: each saves the registers as struct frame (traps.h) and calls trap(). */
#include "pv_layout.h"

    .text
    .globl vectors, callback_entries
/* 16 bytes a vector; Xen has pushed RCX and R11, and above them the error code of those that have one */
    .balign 16
vectors:
    .set vector, 0
    .rept 256
    .balign 16
    pop %rcx
    pop %r11
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
    .else
    push $0
    .endif
    push $vector
    jmp save
    .set vector, vector + 1
    .endr

    .balign 64
callback_entries:
    .set kind, 0
    .rept CALLBACKS
    .balign 64
    pop %rcx
    pop %r11
    .if kind == 1 /* failsafe: with the selectors of the data segments */
    popq failsafe_selectors
    popq failsafe_selectors + 8
    popq failsafe_selectors + 16
    popq failsafe_selectors + 24
    .endif
    push $0
    push $(CALLBACK_VECTOR + kind)
    jmp save
    .set kind, kind + 1
    .endr

    .balign 16
save:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    call trap
    .globl restore
restore:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    push $0
    push %rcx
    push %r11
    push %rax
    mov $HYPERCALL_IRET, %eax
    syscall
    ud2

    .section .bss
    .balign 8
    .globl failsafe_selectors
failsafe_selectors:
    .fill 32
