/*
 * A kernel that loses its way, in the way that the command line names: each ends it alone, with Xen's crash and its
 * registers in the log.
 */
#include "pv.h"
#include "traps.h"

#include <xen/vcpu.h>

#define NOWHERE 0x123456000ul
#define NO_ADDRESS (1ul << 62)
#define XENS 0xffff830000000000ul

static void with_stack(uint64_t stack)
{
    __asm__ volatile("mov %0, %%rsp; ud2" : : "r"(stack));
}

static void to_user_mode(uint64_t stack)
{
    struct iret_frame frame = { .rip = 0x1000, .cs = FLAT_CS64, .rflags = EFLAGS_IF, .ss = FLAT_DS };

    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(new_top()), 0), 0);
    hypercall3(__HYPERVISOR_stack_switch, FLAT_DS, stack, 0);
    iret(&frame);
}

static void no_traps(void)
{
    hypercall3(__HYPERVISOR_set_trap_table, 0, 0, 0);
}

static void stack_unmapped(void) { with_stack(NOWHERE); }
static void stack_read_only(void) { with_stack(pv_start_info()->pt_base + 0x800); }
static void stack_of_xens(void) { with_stack(XENS); }
static void stack_no_address(void) { with_stack(NO_ADDRESS); }
static void stack_at_the_end(void) { with_stack(8); }
static void kernel_stack_unmapped(void) { to_user_mode(NOWHERE); }
static void kernel_stack_of_xens(void) { to_user_mode(XENS); }

static void trap_without_a_table(void)
{
    no_traps();
    __asm__ volatile("ud2");
}

static void page_fault_without_a_handler(void)
{
    no_traps();
    *(volatile int *)NOWHERE = 0;
}

static void event_callback_nowhere(void)
{
    register_callback(CALLBACKTYPE_event, 0, 0);
    vcpu_info(0)->evtchn_upcall_pending = 1;
    vcpu_info(0)->evtchn_upcall_mask = 0;
    hypercall3(__HYPERVISOR_xen_version, 0, 0, 0);
}

/* the handler faults at once, with another frame each time, until the stack ends */
static void handlers_nowhere(void)
{
    static struct trap_info table[33];

    for (unsigned int vector = 0; vector < 32; vector++)
        table[vector] = (struct trap_info){ .vector = vector, .cs = FLAT_CS64, .address = NOWHERE };
    hypercall3(__HYPERVISOR_set_trap_table, (uint64_t)table, 0, 0);
    __asm__ volatile("ud2");
}

static void iret_frame_nowhere(void) { iret((struct iret_frame *)NOWHERE); }
static void iret_frame_no_address(void) { iret((struct iret_frame *)NO_ADDRESS); }

static void iret_to_a_program_without_tables(void)
{
    struct iret_frame frame = { .rip = 0x1000, .cs = FLAT_CS64, .rflags = EFLAGS_IF, .ss = FLAT_DS };

    iret(&frame);
}

static void iret_nowhere_without_a_table(void)
{
    struct iret_frame frame = {
        .rip = NO_ADDRESS, .cs = FLAT_CS64 & ~3, .rsp = (uint64_t)&frame, .rflags = EFLAGS_IF, .ss = FLAT_DS,
    };

    no_traps();
    iret(&frame);
}

static void no_code_mapped(void)
{
    uint64_t *top = allocate_page();

    memset(top, 0, PAGE_SIZE);
    remap(top, P);
    mmuext_op(MMUEXT_PIN_L4_TABLE, mfn_of(top), 0);
    mmuext_op(MMUEXT_NEW_BASEPTR, mfn_of(top), 0);
}

static void failsafe_without_a_stack(void)
{
    static struct vcpu_guest_context context;

    context.flags = VGCF_in_kernel;
    context.user_regs.cs = FLAT_CS64;
    context.user_regs.ss = FLAT_DS;
    context.user_regs.ds = 0x1003;
    context.ctrlreg[3] = mfn_of((void *)pv_start_info()->pt_base) << PAGE_SHIFT;
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, (uint64_t)&context);
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_up, 1, 0);
    for (;;)
        hypercall3(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
}

#define WAY(name) { #name, name }

static const struct {
    const char *name;
    void (*go)(void);
} ways[] = {
    WAY(stack_unmapped), WAY(stack_read_only), WAY(stack_of_xens), WAY(stack_no_address), WAY(stack_at_the_end),
    WAY(kernel_stack_unmapped), WAY(kernel_stack_of_xens), WAY(trap_without_a_table),
    WAY(page_fault_without_a_handler), WAY(event_callback_nowhere), WAY(handlers_nowhere), WAY(iret_frame_nowhere),
    WAY(iret_frame_no_address), WAY(iret_to_a_program_without_tables), WAY(iret_nowhere_without_a_table),
    WAY(no_code_mapped), WAY(failsafe_without_a_stack),
};

void test_main(void)
{
    const char *how = command_line();

    for (unsigned int i = 0; i < ARRAY_SIZE(ways); i++)
        if (strlen(how) == strlen(ways[i].name) && memcmp(how, ways[i].name, strlen(how)) == 0)
            ways[i].go();
    printk("FAILURE: it went on after %s\n", how);
}
