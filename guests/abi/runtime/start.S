/* From Xen's PVH entry, a start-up IPI or VCPUOP_initialise to C in long mode, memory mapped one to one. */
#include "layout.h"

#define CR0_PG_WP_NE_ET_MP_PE 0x80010033
#define CR4_PAE_FXSR 0x620
#define MSR_EFER 0xc0000080
#define EFER_NXE_LME_SCE 0x901
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
    cld
    mov %ebx, start_info_address
    movl $vcpus_stack_top, starting_stack
    movl $guest_main, starting_entry
    lgdt gdt_pointer

long_mode32:
    mov $CR4_PAE_FXSR, %eax
    mov %eax, %cr4
    mov $boot_page_table, %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    rdmsr
    or $EFER_NXE_LME_SCE, %eax
    wrmsr
    mov $CR0_PG_WP_NE_ET_MP_PE, %eax
    mov %eax, %cr0
    ljmp $KERNEL_CS, $start64

    .code64
    .globl start64
/* also where VCPUOP_initialise starts a vCPU */
start64:
    lgdt gdt_pointer
    mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov starting_stack, %rsp
    /* VCPUOP_initialise leaves a CS of no selector, which an IRET could not return to */
    push $KERNEL_CS
    push $1f
    lretq
1:  xor %ebp, %ebp
    call *starting_entry
1:  hlt
    jmp 1b

/* copied to TRAMPOLINE: a vCPU starts here in real mode */
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    lgdtl %cs:(trampoline_gdt_pointer - trampoline)
    mov $0x11, %eax
    mov %eax, %cr0
    ljmpl $BOOT_CS, $1f
trampoline_gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:
    .code32
1:  mov $KERNEL_DS, %eax
    mov %eax, %ds
    lgdt gdt_pointer
    jmp long_mode32

    .section .data
    .align 8
    .globl gdt, gdt_pointer
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* KERNEL_CS */
    .quad 0x00cf93000000ffff    /* KERNEL_DS */
    .quad 0x00cffb000000ffff    /* USER_BASE */
    .quad 0x00cff3000000ffff    /* USER_DS */
    .quad 0x00affb000000ffff    /* USER_CS */
    .quad 0x00cf9b000000ffff    /* BOOT_CS */
    .quad 0
    .fill 2 * MAX_VCPUS, 8, 0   /* a TSS for each vCPU */
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt

    .globl start_info_address, starting_stack, starting_entry
start_info_address:
    .quad 0
starting_stack:
    .quad 0
starting_entry:
    .quad 0

/* the low 4 GiB in pages of 2 MiB, for the kernel only */
    .align 4096
    .globl boot_page_table
boot_page_table:
    .quad level3 + 3
    .fill 511, 8, 0
level3:
    .quad level2 + 3, level2 + 0x1003, level2 + 0x2003, level2 + 0x3003
    .fill 508, 8, 0
level2:
    .set page, 0
    .rept 2048
    .quad (page << 21) + 0x83
    .set page, page + 1
    .endr

    .section .bss
    .align 4096
    .globl vcpus_stacks
vcpus_stacks:
    .fill STACK_BYTES
vcpus_stack_top:
    .fill (MAX_VCPUS - 1) * STACK_BYTES
