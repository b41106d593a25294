/* Where the guest begins; the hypercall page, which Xen fills in, is page 2 of the image. */
#define STACK_BYTES 0x4000

    .section __xen_guest, ""
    .ascii "GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x0,ELF_PADDR_OFFSET=0x0,"
    .ascii "HYPERCALL_PAGE=0x2,PAE=yes[extended-cr3],LOADER=generic"
    .byte 0

    .section .text.start, "ax"
    .globl start
start:
    cld
    mov %rsi, start_info_address
    mov $stack_top, %rsp
    xor %ebp, %ebp
    call guest_main

    .org 0x2000
    .globl hypercall_page
hypercall_page:
    .fill 4096, 1, 0xcc

    .section .data
    .balign 8
    .globl start_info_address
start_info_address:
    .quad 0

    .section .bss
    .balign 16
    .fill STACK_BYTES
stack_top:
