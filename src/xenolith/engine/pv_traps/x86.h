/*
 * Numbers of the architecture, from the AMD64 Architecture Programmer's Manual, volume 2.
 */
#ifndef XENOLITH_PV_X86_H
#define XENOLITH_PV_X86_H

#define PAGE_SIZE 4096u

#define VECTOR_DB 1
#define VECTOR_NMI 2
#define VECTOR_BP 3
#define VECTOR_OF 4
#define VECTOR_UD 6
#define VECTOR_NM 7
#define VECTOR_TS 10
#define VECTOR_NP 11
#define VECTOR_GP 13
#define VECTOR_PF 14
#define VECTOR_LEGACY_SYSCALL 0x80
#define PUSHES_ERROR_CODE 0x00227d00u /* by vector: 8, 10 to 14, 17, 21 */

#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_KNOWN 0x1fu
#define GP_EXTERNAL 1u
#define GP_IDT 2u

#define EFLAGS_TF 0x100u
#define EFLAGS_IF 0x200u
#define EFLAGS_DF 0x400u
#define EFLAGS_IOPL 0x3000u
#define EFLAGS_NT 0x4000u
#define EFLAGS_RF 0x10000u
#define EFLAGS_VM 0x20000u
#define EFLAGS_AC 0x40000u
#define EFLAGS_ALL 0x00277fd5u /* all that can be written; bit 1 is always set */

#define CR0_TS 8u
#define CR4_DE 8u

/* in the second words of descriptors */
#define DESC_PRESENT (1u << 15)
#define DESC_S (1u << 12)
#define DESC_CODE (1u << 11)
#define DESC_WRITABLE (1u << 9)
#define DESC_READABLE (1u << 9) /* of code */
#define DESC_LONG (1u << 21)
#define DESC_BIG (1u << 22)
#define DESC_GRANULAR (1u << 23)

#define PTE_PRESENT 1u
#define PTE_WRITABLE 2u
#define PTE_ACCESSED 0x20u
#define PTE_DIRTY 0x40u
#define PTE_LARGE 0x80u
#define PTE_ADDRESS 0x000ffffffffff000u

#define SYSCALL_BYTES 2
#define INT_BYTES 2

/* general registers in the order of instructions, then RIP; segment registers in theirs */
enum { RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4, RBP = 5, RSI = 6, RDI = 7, R8 = 8, R11 = 11, RIP = 16 };
enum { SEG_ES = 0, SEG_CS = 1, SEG_SS = 2, SEG_DS = 3, SEG_FS = 4, SEG_GS = 5 };

#endif
