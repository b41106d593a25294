/*
 * The smallest guest of all: its first instructions write a character to the debug port. Then it sleeps, with
 * interrupts on: none comes, but with interrupts off the processor would be taken for one that has ended.
 */
#define XEN_ELFNOTE_PHYS32_ENTRY 18

    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start32

    .section .text.start, "ax"
    .code32
    .globl start32
start32:
    mov $'!', %al
    out %al, $0xe9
    sti
1:  hlt
    jmp 1b
