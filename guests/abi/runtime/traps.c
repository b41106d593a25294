/* The interrupt descriptor table, and what becomes of an exception. */
#include "guest.h"
#include "cpu.h"
#include "traps.h"

#define IST_DF 1
#define IST_NMI 2
#define GATE_INTERRUPT 0x8e00
#define GATE_USER 0x6000

struct gate {
    uint16_t offset0, selector, flags, offset1;
    uint32_t offset2, reserved;
};

extern const uint8_t vectors[256][16];
extern uint64_t gdt[];
extern const uint8_t gdt_pointer[10];
void syscall_entry(void);

uint64_t syscall_stack, syscall_user_rsp; /* of the first vCPU, which alone makes system calls */

static struct gate idt[256] __attribute__((aligned(16)));
static handler_t handlers[SYSCALL_VECTOR + 1];
static uint8_t ist_stacks[MAX_VCPUS][2][4096] __attribute__((aligned(16)));
static uint8_t ring0_stacks[MAX_VCPUS][8192] __attribute__((aligned(16)));

void set_handler(unsigned int vector, handler_t handler)
{
    handlers[vector] = handler;
}

static void set_gate(unsigned int vector, uint16_t flags)
{
    uint64_t offset = (uint64_t)vectors[vector];

    idt[vector] = (struct gate){
        .offset0 = offset, .selector = KERNEL_CS, .flags = flags, .offset1 = offset >> 16, .offset2 = offset >> 32,
    };
}

void traps_init_vcpu(struct vcpu *vcpu)
{
    struct __attribute__((packed)) { uint16_t limit; uint64_t base; } idt_pointer = { sizeof(idt) - 1, (uint64_t)idt };
    uint64_t base = (uint64_t)&vcpu->tss;
    uint16_t selector = FIRST_TSS + 16 * vcpu->id;

    if (vcpu->id == 0) {
        syscall_stack = (uint64_t)ring0_stacks[1];
        for (unsigned int vector = 0; vector < 256; vector++)
            set_gate(vector, GATE_INTERRUPT);
        set_gate(DF, GATE_INTERRUPT | IST_DF);
        set_gate(NMI, GATE_INTERRUPT | IST_NMI);
        set_gate(BP, GATE_INTERRUPT | GATE_USER);
        set_gate(0x80, GATE_INTERRUPT | GATE_USER);
    }
    vcpu->tss.rsp[0] = (uint64_t)ring0_stacks[vcpu->id + 1];
    vcpu->tss.ist[IST_DF - 1] = (uint64_t)&ist_stacks[vcpu->id][1];
    vcpu->tss.ist[IST_NMI - 1] = (uint64_t)&ist_stacks[vcpu->id][2];
    vcpu->tss.io_bitmap = sizeof(vcpu->tss);
    gdt[selector / 8] = (sizeof(vcpu->tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[selector / 8 + 1] = base >> 32;
    __asm__ volatile("lgdt %0; lidt %1; ltr %2" : : "m"(gdt_pointer), "m"(idt_pointer), "r"(selector));
    wrmsr(MSR_STAR, (uint64_t)USER_BASE << 48 | (uint64_t)KERNEL_CS << 32);
    wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    wrmsr(MSR_FMASK, EFLAGS_IF | EFLAGS_TF);
}

/* called by vectors.S */
void trap(struct frame *frame)
{
    struct vcpu *vcpu = this_vcpu();
    void **recovery = vcpu->recovery;

    if (handlers[frame->vector]) {
        handlers[frame->vector](frame);
        return;
    }
    if (!recovery) {
        printk("FAILURE: unexpected vector %lu, error code %#lx at %#lx, rsp %#lx, cr2 %#lx\n", frame->vector,
               frame->error_code, frame->rip, frame->rsp, read_cr2());
        shutdown(SHUTDOWN_crash);
    }
    vcpu->fault = (struct fault){ frame->vector, frame->error_code, frame->rip, read_cr2(), frame->rflags };
    vcpu->recovery = NULL;
    __builtin_longjmp(recovery, 1);
}

void enter_user_mode(uint64_t rip, uint64_t rsp, uint64_t rflags)
{
    struct frame frame = { .rip = rip, .cs = USER_CS, .rflags = rflags | 2, .rsp = rsp, .ss = USER_DS };

    __asm__ volatile("mov %0, %%rsp; jmp restore" : : "r"(&frame) : "memory");
    __builtin_unreachable();
}
