/* The gates of the IDT: each saves the registers as struct frame (traps.h) and calls trap(). */
#include "layout.h"

    .text
    .code64
    .globl vectors
/* 16 bytes a vector; those below have pushed an error code */
vectors:
    .set vector, 0
    .rept 256
    .align 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
    .else
    push $0
    .endif
    push $vector
    jmp save
    .set vector, vector + 1
    .endr

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
    iretq

/* SYSCALL from user mode: the frame is as if from an interrupt, the return by SYSRET */
    .globl syscall_entry
syscall_entry:
    mov %rsp, syscall_user_rsp
    mov syscall_stack, %rsp
    push $USER_DS
    push syscall_user_rsp
    push %r11
    push $USER_CS
    push %rcx
    push $0
    push $SYSCALL_VECTOR
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
    mov %rsp, %rdi
    call trap
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
    mov syscall_user_rsp, %rsp
    sysretq
