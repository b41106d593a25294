/*
 * A kernel that has lost its way: the command line begins with how. What is caught as a fault is printed. With
 * "filter=1" the hypervisor has been made to watch every page first.
 */
#include "guest.h"

#include "apic.h"
#include "memory.h"
#include "traps.h"

struct __attribute__((packed)) table { uint16_t limit; uint64_t base; };

static void jump(uint64_t address)
{
    ((void (*)(void))address)();
}

static void set_idt(uint64_t base)
{
    struct table idt = { 4095, base };

    __asm__ volatile("lidt %0" : : "m"(idt));
}

static void set_stack_and_call(uint64_t top)
{
    __asm__ volatile("mov %0, %%rsp; call 1f; 1: ret" : : "r"(top) : "memory");
}

static void jump_to_hole(void) { jump(HOLE); }

static void jump_to_written_hole(void)
{
    *(volatile uint64_t *)HOLE = 0x90;
    jump(HOLE);
}

static void run_into_hole(void)
{
    uint8_t *end = (uint8_t *)(option("memory", 32) << 20);

    memset(end - 64, 0x90, 64);
    jump((uint64_t)end - 64);
}

static void jump_to_apic(void) { jump(APIC_PAGE); }
static void jump_beyond_addresses(void)
{
    map_page(FREE_VIRTUAL, 1ull << 39, PTE_PRESENT | PTE_WRITE);
    jump(FREE_VIRTUAL);
}

static void idt_in_hole(void)
{
    set_idt(HOLE);
    __asm__ volatile("ud2");
}

static void idt_in_hole_software(void)
{
    set_idt(HOLE);
    __asm__ volatile("int $0x42");
}

static void idt_in_hole_interrupt(void)
{
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    set_idt(HOLE);
    apic_write(APIC_ICR, ICR_SELF | 0x41);
    interrupts_on();
    for (;;)
        barrier();
}

static void idt_in_hole_nmi(void)
{
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    set_idt(HOLE);
    apic_write(APIC_ICR, ICR_SELF | ICR_NMI);
    for (;;)
        barrier();
}

static void idt_in_apic(void)
{
    set_idt(APIC_PAGE);
    __asm__ volatile("int $0x42");
}

static void stack_in_hole(void) { set_stack_and_call(HOLE + 0x1000); }
static void stack_in_apic(void) { set_stack_and_call(APIC_PAGE + 0x800); }

static void fault_with_stack_in_hole(void)
{
    __asm__ volatile("mov %0, %%rsp; ud2" : : "r"(HOLE + 0x1000) : "memory");
}

static void gdt_in_hole(void)
{
    struct table gdt = { 4095, HOLE };

    __asm__ volatile("lgdt %0; mov %1, %%ds" : : "m"(gdt), "r"(KERNEL_DS));
}

static void no_task_register(void)
{
    __asm__ volatile("ltr %w0" : : "r"(0));
    map_page(FREE_VIRTUAL, (uint64_t)allocate_page(), PTE_PRESENT | PTE_USER);
    enter_user_mode(FREE_VIRTUAL, FREE_VIRTUAL + 0x1000, 0);
}

static void task_state_in_hole(void)
{
    extern uint64_t gdt[];

    gdt[FIRST_TSS / 8] = 0x67 | (HOLE & 0xffffff) << 16 | 0x89ull << 40 | (HOLE >> 24 & 0xff) << 56;
    __asm__ volatile("ltr %w0" : : "r"(FIRST_TSS));
    map_page(FREE_VIRTUAL, (uint64_t)allocate_page(), PTE_PRESENT | PTE_USER);
    enter_user_mode(FREE_VIRTUAL, FREE_VIRTUAL + 0x1000, 0);
}

static void tables_in_hole(void)
{
    boot_page_table[FREE_VIRTUAL >> 39] = HOLE | PTE_PRESENT | PTE_WRITE;
    *(volatile uint64_t *)FREE_VIRTUAL;
}

static void tables_in_apic(void)
{
    boot_page_table[FREE_VIRTUAL >> 39] = APIC_PAGE | PTE_PRESENT | PTE_WRITE;
    *(volatile uint64_t *)FREE_VIRTUAL = 0;
    *(volatile uint64_t *)(FREE_VIRTUAL + (0x20ull << 30)) = 0;
}

static void tables_in_themselves(void)
{
    boot_page_table[511] = (uint64_t)boot_page_table | PTE_PRESENT | PTE_WRITE;
    uint64_t *self = (uint64_t *)0xfffffffffffff000;
    expect_equal(self[511] & PTE_ADDRESS, (uint64_t)boot_page_table);
    /* the text is reached by a loop of tables, too; break it there */
    self[0] = 0;
    write_cr3(read_cr3());
}

static void cr3_in_hole(void) { write_cr3(HOLE); }
static void cr3_in_apic(void) { write_cr3(APIC_PAGE); }
static void cr3_garbage(void) { write_cr3(0x000fedcba9876543); }
static void cr3_of_code(void) { write_cr3((uint64_t)test_main & ~0xffful); }

static void paging_off(void)
{
    write_cr0(read_cr0() & ~(1ul << 31));
}

static void protection_off(void) { write_cr0(0); }
static void cr4_garbage(void) { write_cr4(0xffffffff); }

static void hypercall_with_tables_in_hole(void)
{
    boot_page_table[FREE_VIRTUAL >> 39] = HOLE | PTE_PRESENT | PTE_WRITE;
    expect(hypercall(__HYPERVISOR_xen_version, 1, (void *)FREE_VIRTUAL) == -14);
    boot_page_table[FREE_VIRTUAL >> 39] = APIC_PAGE | PTE_PRESENT | PTE_WRITE;
    expect(hypercall(__HYPERVISOR_xen_version, 1, (void *)FREE_VIRTUAL) == -14);
    boot_page_table[FREE_VIRTUAL >> 39] = 1ull << 50 | PTE_PRESENT | PTE_WRITE;
    expect(hypercall(__HYPERVISOR_xen_version, 1, (void *)FREE_VIRTUAL) == -14);
    expect(hypercall(__HYPERVISOR_xen_version, 1, (void *)HOLE) == -14);
    expect(hypercall(__HYPERVISOR_xen_version, 1, (void *)APIC_PAGE) == -14);
    expect(hypercall(__HYPERVISOR_xen_version, 1, (void *)-8) == -14);
    boot_page_table[511] = (uint64_t)boot_page_table | PTE_PRESENT | PTE_WRITE;
    expect(hypercall(__HYPERVISOR_xen_version, 1, (void *)-8) == -14); /* runs off the end */
}

static const struct {
    const char *name;
    void (*go)(void);
} ways[] = {
#define WAY(name) { #name, name }
    WAY(jump_to_hole), WAY(jump_to_written_hole), WAY(run_into_hole), WAY(jump_to_apic), WAY(jump_beyond_addresses),
    WAY(idt_in_hole), WAY(idt_in_hole_software), WAY(idt_in_hole_interrupt), WAY(idt_in_hole_nmi), WAY(idt_in_apic), WAY(stack_in_hole),
    WAY(stack_in_apic), WAY(fault_with_stack_in_hole), WAY(gdt_in_hole), WAY(no_task_register),
    WAY(task_state_in_hole), WAY(tables_in_hole), WAY(tables_in_apic), WAY(tables_in_themselves), WAY(cr3_in_hole),
    WAY(cr3_in_apic), WAY(cr3_garbage), WAY(cr3_of_code), WAY(paging_off), WAY(protection_off), WAY(cr4_garbage),
    WAY(hypercall_with_tables_in_hole),
};

void test_main(void)
{
    const char *how = (const char *)start_info()->cmdline_paddr;
    struct fault fault;

    if (option("filter", 0))
        for (uint64_t page = HOLE + 0x10000000; page < HOLE + 0x10064000; page += PAGE_SIZE)
            expect_equal(*(volatile uint64_t *)page, ~0ul);
    for (unsigned int i = 0; i < ARRAY_SIZE(ways); i++)
        if (!memcmp(how, ways[i].name, strlen(ways[i].name)) && how[strlen(ways[i].name)] == ' ') {
            catch_fault(fault, ways[i].go());
            if (fault.vector != NO_FAULT)
                printk("fault %d, error code %#lx, cr2 %#lx\n", fault.vector, fault.error_code, fault.cr2);
            return;
        }
    fail(__FILE__, __LINE__, "no such way: %s", how);
}
