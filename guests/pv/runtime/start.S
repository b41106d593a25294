/* Where a PV guest begins: on page tables and a stack of the builder's, RSI at struct start_info. */
#include "pv_layout.h"

    .macro note number, size, value:vararg
    .align 4
    .long 4, \size, \number
    .asciz "Xen"
    \value
    .align 4
    .endm

    .section .note.Xen, "a", @note
    note 6, 5, .asciz "test"        /* GUEST_OS */
    note 5, 8, .asciz "xen-3.0"     /* XEN_VERSION */
    note 8, 8, .asciz "generic"     /* LOADER */
    note 3, 8, .quad VIRT_BASE      /* VIRT_BASE */
    note 4, 8, .quad 0              /* PADDR_OFFSET */
    note 1, 8, .quad start          /* ENTRY */

    .section .text.start, "ax"
    .globl start
start:
    cld
    mov %rsi, start_info_address
    mov $vcpus_stacks + STACK_BYTES, %rsp
    xor %edi, %edi
    xor %ebp, %ebp
    call guest_main

/* where VCPUOP_initialise starts a vCPU: its number in RDI, what to call in RSI */
    .globl start_vcpu
start_vcpu:
    push %rsi
    call traps_init_vcpu
    pop %rsi
    call *%rsi
1:  jmp 1b

    .section .data
    .balign 8
    .globl start_info_address
start_info_address:
    .quad 0

    .section .bss
    .balign 4096
    .globl vcpus_stacks
vcpus_stacks:
    .fill MAX_VCPUS * STACK_BYTES
