/* Numbers that C and assembler share. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define MAX_VCPUS 8
#define STACK_BYTES 0x4000

/* selectors; SYSRET wants a data and then a 64-bit code segment behind USER_BASE */
#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_BASE 0x18
#define USER_DS 0x23
#define USER_CS 0x2b
#define BOOT_CS 0x30
#define FIRST_TSS 0x40

#define SYSCALL_VECTOR 0x100 /* a pseudo vector for SYSCALL in struct frame */

#define TRAMPOLINE 0x8000 /* where a start-up IPI begins */

#endif
