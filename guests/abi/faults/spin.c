/* Ways to keep a processor busy for ever with interrupts off; the command line names one. */
#include "guest.h"

#include <xen/memory.h>

#include "apic.h"
#include "memory.h"
#include "traps.h"

#define ABSENT FREE_VIRTUAL

static page_t code;

static void do_nothing(struct frame *frame)
{
    (void)frame; /* so the same instruction faults again */
}

static void loop(void)
{
    for (;;)
        barrier();
}

static void halt(void)
{
    for (;;)
        __asm__ volatile("hlt");
}

static void with_pauses(void)
{
    for (;;)
        pause();
}

static void undefined_instruction(void)
{
    set_handler(UD, do_nothing);
    __asm__ volatile("ud2");
}

static void page_fault(void)
{
    set_handler(PF, do_nothing);
    *(volatile int *)ABSENT = 1;
}

static void double_fault(void)
{
    set_handler(DF, do_nothing);
    __asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(ABSENT + 16));
}

static void software_interrupt(void)
{
    set_handler(0x42, do_nothing);
    for (;;)
        __asm__ volatile("int $0x42");
}

static void single_steps(void)
{
    set_handler(DB, do_nothing);
    __asm__ volatile("pushf; orl %0, (%%rsp); popf; 1: jmp 1b" : : "i"(EFLAGS_TF));
}

static void string_instruction(void)
{
    uint64_t count = ~0ul, address = 0;

    __asm__ volatile("rep lodsb" : "+c"(count), "+S"(address) : : "rax");
}

static void string_in_a_hole(void)
{
    uint64_t count = 1ul << 30, address = HOLE;

    __asm__ volatile("rep stosb" : "+c"(count), "+D"(address) : "a"(0) : "memory");
}

static void string_port(void)
{
    uint64_t count = ~0ul, address = HOLE;

    __asm__ volatile("rep outsb" : "+c"(count), "+S"(address) : "d"(0x80));
}

static void ports(void)
{
    for (;;) {
        inb(0x80);
        outb(0x80, 0);
    }
}

static void hypercalls(void)
{
    for (;;)
        hypercall(__HYPERVISOR_xen_version, 0, NULL);
}

static void yields(void)
{
    for (;;)
        hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, NULL);
}

static void exits(void)
{
    for (;;) {
        cpuid(0, 0);
        rdmsr(MSR_APIC_BASE);
    }
}

static void apic_page(void)
{
    for (;;)
        apic_write(APIC_TPR, apic_read(APIC_PPR));
}

static void nothing_there(void)
{
    for (volatile uint64_t *word = (uint64_t *)HOLE;; word += 512)
        if ((uint64_t)word >= 0xfc000000)
            word = (uint64_t *)HOLE;
        else
            *word = *word;
}

static void new_code(void)
{
    void (*function)(void) = (void *)&code;

    for (uint64_t i = 0;; i++) {
        code.bytes[0] = 0xb8;
        *(volatile uint32_t *)&code.bytes[1] = i;
        code.bytes[5] = 0xc3;
        function();
    }
}

static void tlb_flushes(void)
{
    for (;;)
        write_cr3(read_cr3());
}

static void remapping(void)
{
    for (uint64_t gfn = HOLE >> PAGE_SHIFT;; gfn ^= 1) {
        struct xen_add_to_physmap argument = {
            .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .idx = gfn ^ 1, .gpfn = gfn,
        };

        if (hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument))
            argument.idx = gfn_of(&code);
        hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument);
    }
}

static const struct {
    const char *name;
    void (*spin)(void);
} ways[] = {
#define WAY(name) { #name, name }
    WAY(loop), WAY(halt), WAY(with_pauses), WAY(undefined_instruction), WAY(page_fault), WAY(double_fault),
    WAY(software_interrupt), WAY(single_steps), WAY(string_instruction), WAY(string_in_a_hole), WAY(string_port),
    WAY(ports), WAY(hypercalls), WAY(yields), WAY(exits), WAY(apic_page), WAY(nothing_there), WAY(new_code),
    WAY(tlb_flushes), WAY(remapping),
};

void test_main(void)
{
    const char *how = (const char *)start_info()->cmdline_paddr;

    for (unsigned int i = 0; i < ARRAY_SIZE(ways); i++)
        if (strlen(how) == strlen(ways[i].name) && !memcmp(how, ways[i].name, strlen(how))) {
            interrupts_off();
            printk("spinning\n");
            ways[i].spin();
        }
    fail(__FILE__, __LINE__, "no way to spin: %s", how);
}
