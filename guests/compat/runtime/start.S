/* From Xen's PVH entry to C: the guest stays in protected mode without paging, as Xen starts it and as GRUB runs. */
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define STACK_BYTES 0x4000

    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

    .section .text.start, "ax"
    .globl start
start:
    cld
    mov $stack_top, %esp
    call guest_main

    .section .bss
    .align 16
    .fill STACK_BYTES
stack_top:
