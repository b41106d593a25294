/*
 * Measures what it costs a PV guest when a program traps into its kernel and the kernel returns: by a system call, and
 * by a page fault. Prints lines "GBENCH name count seconds" for each of several rounds, then "GBENCH end".
 */
#include "pv.h"
#include "traps.h"
#include "cpu.h"

#define ROUNDS 5
#define TRAPS 50000u
#define STORE_BYTES 3

extern const char system_calls[], stores[];

/* RDI counts down; what ends the program is no trap that is measured. */
__asm__(
    "system_calls: syscall; dec %rdi; jnz system_calls; ud2\n"
    "stores: movb $0, (%rbx); dec %rdi; jnz stores; ud2\n");

static void nothing(struct frame *frame)
{
    (void)frame;
}

static void skip_store(struct frame *frame)
{
    frame->rip += STORE_BYTES;
}

/* as the description of struct vcpu_time_info in public/xen.h has it */
static uint64_t nanoseconds(uint64_t ticks)
{
    const vcpu_time_info_t *time = &vcpu_info(0)->time;

    ticks = time->tsc_shift < 0 ? ticks >> -time->tsc_shift : ticks << time->tsc_shift;
    return (unsigned __int128)ticks * time->tsc_to_system_mul >> 32;
}

/* in user mode, from a program's first instruction to its last */
static void run(const char *program, uint64_t count)
{
    struct iret_frame frame = { .rip = (uint64_t)program, .cs = FLAT_CS64, .rflags = EFLAGS_IF, .ss = FLAT_DS };
    struct fault fault;

    catch_fault(fault, {
        __asm__ volatile("mov %0, %%rsp; mov %1, %%rdi; xor %%ebx, %%ebx; mov %2, %%eax; syscall"
                         : : "r"(&frame), "r"(count), "i"(HYPERCALL_IRET) : "memory", "rbx", "rdi", "rax");
    });
    expect_equal(fault.vector, UD);
}

static void measure(const char *name, const char *program)
{
    run(program, TRAPS / 10); /* the first ones are slower */
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t began = rdtsc(), microseconds;

        run(program, TRAPS);
        microseconds = nanoseconds(rdtsc() - began) / 1000;
        printk("GBENCH %s %u %lu.%06lu\n", name, TRAPS, microseconds / 1000000, microseconds % 1000000);
    }
}

void test_main(void)
{
    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(new_top()), 0), 0);
    set_handler(CALLBACK(syscall), nothing);
    set_handler(PF, skip_store);
    measure("syscall_bounce", system_calls);
    measure("page_fault_bounce", stores);
    printk("GBENCH end\n");
}
