/*
 * Events whose frame goes to where nothing is: each is delivered, once, to a handler that needs no stack. With
 * "filter=1" the hypervisor has been made to watch every page first.
 */
#include "guest.h"

#include "apic.h"
#include "memory.h"
#include "traps.h"

#define VECTOR 0x41
#define SOFTWARE 0x42

struct __attribute__((packed)) table { uint16_t limit; uint64_t base; };
struct gate { uint16_t offset0, selector, flags, offset1; uint32_t offset2, reserved; };

static page_t idt_page;
uint64_t delivered, saved_rsp, resume;

/* counts, and goes back to where the stack is */
extern const uint8_t handler[];
__asm__(".pushsection .text\n"
        "handler: incq delivered\n"
        "mov saved_rsp, %rsp\n"
        "jmp *resume\n"
        ".popsection");

static void set_gate(unsigned int vector)
{
    uint64_t offset = (uint64_t)handler;

    ((struct gate *)&idt_page)[vector] = (struct gate){
        .offset0 = offset, .selector = KERNEL_CS, .flags = 0x8e00, .offset1 = offset >> 16, .offset2 = offset >> 32,
    };
}

/* trigger an event with the stack in a page of the hole that was never touched */
#define with_no_stack(trigger) do { \
        static uint64_t page = HOLE + 0x10000000 + __LINE__ * PAGE_SIZE; \
        uint64_t before = delivered; \
        __asm__ volatile("mov %%rsp, saved_rsp; movq $1f, resume; mov %0, %%rsp; " trigger "; 1:" \
                         : : "r"(page + 0x800), "d"(APIC_PAGE), "a"(ICR_SELF | VECTOR) : "memory", "rbx"); \
        interrupts_off(); \
        expect_equal(delivered, before + 1); \
    } while (0)

void test_main(void)
{
    struct table idt;

    if (option("filter", 0))
        for (uint64_t page = HOLE; page < HOLE + 100 * PAGE_SIZE; page += PAGE_SIZE)
            expect_equal(*(volatile uint64_t *)page, ~0ul);

    __asm__ volatile("sidt %0" : "=m"(idt));
    memcpy(&idt_page, (void *)idt.base, sizeof(idt_page));
    set_gate(UD);
    set_gate(PF);
    set_gate(NMI);
    set_gate(VECTOR);
    set_gate(SOFTWARE);
    idt.base = (uint64_t)&idt_page;
    __asm__ volatile("lidt %0" : : "m"(idt));
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);

    with_no_stack("ud2");
    with_no_stack("int $0x42");
    with_no_stack("movabs $0x10000000000, %%rbx; mov (%%rbx), %%rbx");
    with_no_stack("movl %%eax, 0x300(%%rdx); sti; 2: jmp 2b");
    apic_write(APIC_EOI, 0);
    with_no_stack("int $0x42");
    with_no_stack("movl $0x40400, 0x300(%%rdx); 2: jmp 2b"); /* an NMI to itself, last: no IRET ends it */
}
