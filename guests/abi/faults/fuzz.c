/*
 * Calls every hypercall with every command and with arguments that are random, wild or almost right, "iterations="
 * times, from "seed=". Left out is only what shuts the domain down, and what would make the guest its own victim:
 * arguments never name its own image.
 */
#include "guest.h"

#include <xen/hvm/hvm_op.h>
#include <xen/memory.h>
#include <xen/vcpu.h>

#include "apic.h"
#include "memory.h"
#include "random.h"
#include "traps.h"

#define HYPERCALLS 64
#define COMMANDS 48
#define EXPENDABLE 0x1000000ull /* memory from here on, 16 MiB, may be given away and replaced */
#define WORDS 512

#define READONLY_PAGE FREE_VIRTUAL
#define ARGUMENT (FREE_VIRTUAL + 0x2000) /* what runs off its end finds nothing */
#define LIST (FREE_VIRTUAL + 0x4000)

static page_t argument, list;
static multicall_entry_t calls[8];
static unsigned long made, succeeded;

static bool one_in(unsigned int n)
{
    return random() % n == 0;
}

static uint64_t pick(const uint64_t *from, unsigned int count)
{
    return from[random() % count];
}

#define PICK(array) pick(array, ARRAY_SIZE(array))

static uint64_t frame_number(void)
{
    static const uint64_t corners[] = {
        0, HOLE >> 12, 0xfc000, 0xfeff8, 0xfeffc, 0xfefff, 0xfee00, 0xfff00, 0x100000, 0xfffffff, 0x10000000, ~0ul,
        1ul << 40, 1ul << 52, 0x8000000000000000, 0xffffffff,
    };

    if (one_in(4))
        return PICK(corners);
    if (one_in(8))
        return HOLE / 4096 + random() % 64;
    return (EXPENDABLE >> 12) + random() % 4000;
}

static uint64_t pointer(void)
{
    static const uint64_t wild[] = {
        ~0ul, ~7ul, HOLE, HOLE - 1, APIC_PAGE, 0xfffffffc, 1ul << 63, 0x7fffffffffff, 0xffff800000000000,
        0x800000000000, 0x7ffffffffff8, FREE_VIRTUAL + 0x5000, FREE_VIRTUAL - 8,
    };

    switch (random() % 8) {
    case 0:
        return PICK(wild);
    case 1:
        return LIST + PAGE_SIZE - random() % 64;
    case 2:
        return READONLY_PAGE + random() % 4096;
    case 3:
        return random() >> 1 | 1ul << 62; /* not canonical */
    default:
        return LIST + random() % 16 * 8;
    }
}

static uint64_t word(void)
{
    static const uint64_t domids[] = { DOMID_SELF, DOMID_SELF, DOMID_SELF, 0, 1, 7, 0x7ff1, 0x7ff2, 0x7fff, 0xffff };
    static const uint64_t corners[] = {
        0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x3ff, 0x400, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff,
        0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffffffe, ~0ul,
    };

    switch (random() % 8) {
    case 0:
        return random() % 64;
    case 1:
        return PICK(corners);
    case 2:
        return frame_number();
    case 3:
        return frame_number() << 12 | (one_in(2) ? 0 : random() % 4096);
    case 4:
        return pointer();
    case 5: /* a domain, something short, something longer */
        return PICK(domids) | random() % 64 << 16 | (random() % 8) << 32;
    case 6:
        return random() % 16 | (uint64_t)(random() % 16) << 32;
    default:
        return one_in(8) ? random() : random() % 1024;
    }
}

/* Xen looks at the low halves of both */
static bool is_forbidden(uint64_t number, uint32_t command)
{
    return (uint32_t)number == __HYPERVISOR_sched_op
           && (command == SCHEDOP_shutdown || command == SCHEDOP_shutdown_code || command == SCHEDOP_watchdog);
}

static void fill(page_t *page)
{
    uint64_t *words = (uint64_t *)page;

    for (unsigned int i = 0; i < 32; i++)
        words[i] = word();
    for (unsigned int i = WORDS - 8; i < WORDS; i++)
        words[i] = word();
}

static void one_call(uint64_t number)
{
    uint64_t command = one_in(32) ? word() : random() % COMMANDS, argument_address;
    long result;

    fill(&argument);
    if (one_in(4))
        fill(&list);
    if (number == __HYPERVISOR_multicall) {
        for (unsigned int i = 0; i < ARRAY_SIZE(calls); i++)
            do {
                calls[i].op = one_in(16) ? word() : random() % HYPERCALLS;
                calls[i].args[0] = random() % COMMANDS;
                calls[i].args[1] = one_in(8) ? pointer() : ARGUMENT;
                for (unsigned int j = 2; j < 6; j++)
                    calls[i].args[j] = word();
            } while ((uint32_t)calls[i].op == __HYPERVISOR_multicall || is_forbidden(calls[i].op, calls[i].args[0]));
        result = hypercall5(number, one_in(8) ? 1ul << 63 : (uint64_t)calls, random() % (ARRAY_SIZE(calls) + 1), 0, 0, 0);
    } else {
        if (is_forbidden(number, command))
            return;
        argument_address = one_in(8) ? pointer() : ARGUMENT;
        if (number == __HYPERVISOR_vcpu_op)
            result = hypercall5(number, command, one_in(8) ? word() : 0, argument_address, word(), word());
        else if (number == __HYPERVISOR_console_io)
            result = hypercall5(number, command, one_in(64) ? word() : random() % 16, pointer(), word(), word());
        else if (number == __HYPERVISOR_grant_table_op)
            result = hypercall5(number, command, argument_address, one_in(4) ? word() : random() % 4, word(), word());
        else
            result = hypercall5(number, command, argument_address, word(), word(), word());
    }
    made++;
    succeeded += result >= 0;
}

/* give the memory back that was given away, so that there is something to give away */
static void repopulate(void)
{
    static uint64_t gfns[512];

    for (unsigned int first = 0; first < 4096; first += 512) {
        struct xen_memory_reservation reservation = {
            .extent_start.p = (void *)gfns, .nr_extents = 512, .domid = DOMID_SELF,
        };

        for (unsigned int i = 0; i < 512; i++)
            gfns[i] = (EXPENDABLE >> 12) + first + i;
        hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap, &reservation);
    }
}

static void ignore(struct frame *frame)
{
    (void)frame;
}

void test_main(void)
{
    uint64_t iterations = option("iterations", 1000), seed = option("seed", 1);

    printk("seed %lu, %lu iterations\n", seed, iterations);
    random_seed(seed);
    map_page(READONLY_PAGE, (uint64_t)allocate_page(), PTE_PRESENT);
    map_page(ARGUMENT, (uint64_t)&argument, PTE_PRESENT | PTE_WRITE);
    map_page(LIST, (uint64_t)&list, PTE_PRESENT | PTE_WRITE);
    set_handler(NMI, ignore);
    /* ends SCHEDOP_block and SCHEDOP_poll, whatever becomes of the event channels */
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, 1u << 17 | 0x40);
    apic_write(APIC_TIMER_INITIAL, 100000);

    for (uint64_t i = 0; i < iterations; i++) {
        if (i % 512 == 0)
            repopulate();
        one_call(one_in(3) ? random() % HYPERCALLS : (const uint64_t[]){
            __HYPERVISOR_memory_op, __HYPERVISOR_event_channel_op, __HYPERVISOR_grant_table_op, __HYPERVISOR_hvm_op,
            __HYPERVISOR_vcpu_op, __HYPERVISOR_sched_op, __HYPERVISOR_multicall, __HYPERVISOR_xen_version,
        }[random() % 8]);
    }
    printk("\n%lu calls made, %lu of them succeeded\n", made, succeeded);
}
