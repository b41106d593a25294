/*
 * Calls every hypercall with every command and with arguments that are random, wild or almost right, "iterations="
 * times, from "seed=". Left out is only what shuts the domain down or sends a vCPU to where no code is; what a call may
 * have broken of the guest's own is put right again before the next one.
 */
#include "pv.h"
#include "random.h"
#include "traps.h"

#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/vcpu.h>

#define HYPERCALLS 50
#define PAGES 48 /* of the image, that may become anything */
#define WINDOW 0xffff888000000000 /* where tables of the pool's own are */
#define READONLY_VIRTUAL (WINDOW + 0x1000)
#define ARGUMENT (WINDOW + 0x100000) /* what runs off its end finds nothing */
#define LIST (WINDOW + 0x102000)
#define WORDS 512

static page_t *pages;
static uint64_t *tops[2], first_unmapped;
static multicall_entry_t calls[8];
static unsigned long made, succeeded;

static bool one_in(unsigned int n)
{
    return random() % n == 0;
}

#define PICK(array) ((array)[random() % ARRAY_SIZE(array)])

static void *some_page(void)
{
    return &pages[random() % PAGES];
}

static uint64_t frame_number(void)
{
    static const uint64_t corners[] = {
        0, 1, 2, 1023, 1024, 0x100000, 0xfffffff, 0x10000000, ~0ul, 1ul << 40, 1ul << 52, 1ul << 63, 0xffffffff,
        (1ul << 40) - 1, 0xfff00000,
    };
    uint64_t number;

    switch (random() % 8) {
    case 0:
        return PICK(corners);
    case 1: /* frames of the hypervisor's, but not those by which events come */
        number = random() % 1100;
        return number == pv_start_info()->shared_info >> PAGE_SHIFT ? 0 : number;
    case 2: /* never mapped by us */
        return p2m[first_unmapped + random() % (pv_start_info()->nr_pages - first_unmapped)];
    case 3:
        return mfn_of(PICK(tops));
    default:
        return mfn_of(some_page());
    }
}

static uint64_t entry(void)
{
    static const uint64_t flags[] = { 0, P, P | RW, P | RW | US, P | US, P | RW | US | ACCESSED | DIRTY, 0x80 | P | RW };
    uint64_t value = frame_number() << PAGE_SHIFT | PICK(flags);

    return one_in(16) ? value ^ 1ul << random() % 64 : value;
}

/* a guest-virtual address that may be changed */
static uint64_t expendable_address(void)
{
    return one_in(2) ? (uint64_t)some_page() : WINDOW + random() % 16 * PAGE_SIZE;
}

static uint64_t pointer(void)
{
    static const uint64_t wild[] = {
        ~0ul, ~7ul, 1ul << 63, 0x7fffffffffff, 0xffff800000000000, 0xffff804000000000, 0xffff820000000000,
        0xffff87fffffffff8, 0x800000000000, 0x7ffffffffff8, 0, 8, READONLY_VIRTUAL, WINDOW - 8,
    };

    switch (random() % 8) {
    case 0:
        return PICK(wild);
    case 1:
        return LIST + PAGE_SIZE - random() % 64;
    case 2:
        return READONLY_VIRTUAL + random() % 4096;
    case 3:
        return random() >> 1 | 1ul << 62; /* not canonical */
    case 4:
        return expendable_address();
    default:
        return LIST + random() % 16 * 8;
    }
}

static uint64_t any_word(void)
{
    static const uint64_t domids[] = { DOMID_SELF, DOMID_SELF, DOMID_SELF, 0, 1, 7, 0x7ff1, 0x7ff2, 0x7fff, 0xffff };
    static const uint64_t corners[] = {
        0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x3ff, 0x400, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff,
        0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffffffe, ~0ul,
    };

    switch (random() % 10) {
    case 0:
        return random() % 64;
    case 1:
        return PICK(corners);
    case 2:
        return frame_number();
    case 3:
        return frame_number() << 12 | (one_in(2) ? random() % 512 * 8 : random() % 4096);
    case 4:
        return pointer();
    case 5: /* a domain, something short, something longer */
        return PICK(domids) | random() % 64 << 16 | (random() % 8) << 32;
    case 6:
        return random() % 16 | (uint64_t)(random() % 16) << 32;
    case 7:
        return entry();
    case 8:
        return expendable_address();
    default:
        return one_in(8) ? random() : random() % 1024;
    }
}

/* Events come by the shared info: it is not to be overwritten, be it by its frame's number or its address. */
static uint64_t word(void)
{
    uint64_t word = any_word(), frame = pv_start_info()->shared_info >> PAGE_SHIFT;

    return word == frame || word >> PAGE_SHIFT == frame ? 0 : word;
}

static bool is_forbidden(uint64_t number, const uint64_t *arguments)
{
    uint32_t command = arguments[0];

    switch ((uint32_t)number) {
    case __HYPERVISOR_sched_op:
        return command == SCHEDOP_shutdown || command == SCHEDOP_shutdown_code || command == SCHEDOP_watchdog;
    case __HYPERVISOR_iret:
        return true;
    case __HYPERVISOR_vcpu_op: /* its own vcpu_info stays; no other vCPU runs what was made up for it */
        return (command == VCPUOP_register_vcpu_info && (uint32_t)arguments[1] == 0)
               || ((command == VCPUOP_up || command == VCPUOP_send_nmi) && (uint32_t)arguments[1] != 0);
    case __HYPERVISOR_update_va_mapping:
    case __HYPERVISOR_update_va_mapping_otherdomain: /* not its own code, nor its arguments */
        return (arguments[0] >= ARGUMENT && arguments[0] < LIST + PAGE_SIZE)
               || (arguments[0] >= VIRT_BASE
                   && (arguments[0] < (uint64_t)pages || arguments[0] >= (uint64_t)(pages + PAGES)));
    }
    return false;
}

static void fill(page_t *page)
{
    uint64_t *words = (uint64_t *)page;

    for (unsigned int i = 0; i < 32; i++)
        words[i] = word();
    for (unsigned int i = WORDS - 8; i < WORDS; i++)
        words[i] = word();
}

/* A kernel that goes on by page tables made of random words is its own victim: leave no such request about. */
static void forget_requests_for_base_pointers(void)
{
    uint64_t *pages_of_arguments[] = { (uint64_t *)ARGUMENT, (uint64_t *)LIST };

    for (unsigned int page = 0; page < 2; page++)
        for (unsigned int i = 0; i < WORDS; i++)
            if ((uint32_t)pages_of_arguments[page][i] == MMUEXT_NEW_BASEPTR)
                pages_of_arguments[page][i] = MMUEXT_TLB_FLUSH_LOCAL;
}

/* requests of the kinds that mean something to a hypercall */
static void fill_requests(uint64_t number)
{
    uint64_t *words = (uint64_t *)ARGUMENT;

    for (unsigned int i = 0; i < 8; i++) {
        if (number == __HYPERVISOR_mmu_update) {
            words[2 * i] = (frame_number() << PAGE_SHIFT | random() % 8 * 8) + random() % 4;
            words[2 * i + 1] = entry();
        } else if (number == __HYPERVISOR_mmuext_op) {
            do
                words[3 * i] = random() % 22;
            while (words[3 * i] == MMUEXT_NEW_BASEPTR);
            words[3 * i + 1] = one_in(3) ? word() : frame_number();
            words[3 * i + 2] = one_in(2) ? random() % 64 : frame_number();
            if (i == 0 && one_in(8)) {
                const uint64_t *top = PICK(tops);

                words[0] = top[511] & P ? MMUEXT_NEW_BASEPTR : MMUEXT_TLB_FLUSH_ALL;
                words[1] = mfn_of(top);
            }
        }
    }
}

/* a table of some level in one of the pages, so that pins find something to validate */
static void make_table(void)
{
    uint64_t *page = some_page();

    if (!(read_entry(page) & P) || update_va_mapping(page, entry_of(page, P | RW)))
        return;
    for (unsigned int i = 0; i < 8; i++)
        page[i] = one_in(4) ? entry() : 0;
    update_va_mapping(page, entry_of(page, P));
    mmuext_op(random() % 4, mfn_of(page), 0);
}

static uint64_t command_for(uint64_t number)
{
    (void)number;
    return one_in(32) ? word() : random() % 36;
}

static void arguments_for(uint64_t number, uint64_t *arguments)
{
    for (unsigned int i = 0; i < 5; i++)
        arguments[i] = word();
    switch (number) {
    case __HYPERVISOR_mmu_update:
    case __HYPERVISOR_mmuext_op:
        arguments[0] = one_in(8) ? pointer() : ARGUMENT;
        arguments[1] = one_in(16) ? word() : random() % 8;
        arguments[2] = one_in(2) ? 0 : pointer();
        arguments[3] = one_in(8) ? word() : DOMID_SELF;
        break;
    case __HYPERVISOR_update_va_mapping:
    case __HYPERVISOR_update_va_mapping_otherdomain:
        arguments[0] = one_in(8) ? pointer() : expendable_address();
        arguments[1] = entry();
        arguments[3] = one_in(2) ? DOMID_SELF : word();
        break;
    case __HYPERVISOR_console_io:
        arguments[0] = command_for(number);
        arguments[1] = one_in(64) ? word() : random() % 16;
        arguments[2] = pointer();
        break;
    case __HYPERVISOR_vcpu_op:
        arguments[0] = command_for(number) % 16;
        arguments[1] = one_in(4) ? word() : random() % 2;
        arguments[2] = one_in(8) ? pointer() : ARGUMENT;
        break;
    case __HYPERVISOR_set_trap_table:
    case __HYPERVISOR_set_gdt:
        arguments[0] = one_in(4) ? pointer() : ARGUMENT;
        arguments[1] = one_in(4) ? word() : random() % 7200;
        break;
    case __HYPERVISOR_set_debugreg:
    case __HYPERVISOR_get_debugreg:
        arguments[0] = one_in(4) ? word() : random() % 8;
        break;
    case __HYPERVISOR_set_segment_base:
        arguments[0] = one_in(4) ? word() : random() % 4;
        break;
    case __HYPERVISOR_stack_switch:
    case __HYPERVISOR_set_callbacks:
    case __HYPERVISOR_update_descriptor:
    case __HYPERVISOR_fpu_taskswitch:
    case __HYPERVISOR_set_timer_op:
        break;
    default:
        arguments[0] = command_for(number);
        arguments[1] = one_in(8) ? pointer() : ARGUMENT;
        if (number == __HYPERVISOR_grant_table_op)
            arguments[2] = one_in(4) ? word() : random() % 4;
    }
}

/* an event must not come while callbacks, or what they need, are anywhere; nor an NMI */
static bool moves_callbacks(uint64_t number)
{
    switch ((uint32_t)number) {
    case __HYPERVISOR_set_trap_table:
    case __HYPERVISOR_set_callbacks:
    case __HYPERVISOR_callback_op:
    case __HYPERVISOR_nmi_op:
    case __HYPERVISOR_stack_switch:
    case __HYPERVISOR_set_segment_base:
    case __HYPERVISOR_multicall:
        return true;
    }
    return false;
}

static bool is_forbidden_among_others(uint64_t number, const uint64_t *arguments)
{
    return (uint32_t)number == __HYPERVISOR_sched_op || (uint32_t)number == __HYPERVISOR_set_trap_table
           || ((uint32_t)number == __HYPERVISOR_vcpu_op && (uint32_t)arguments[0] == VCPUOP_send_nmi)
           || is_forbidden(number, arguments);
}

static void one_call(uint64_t number)
{
    uint64_t arguments[6];
    long result;

    vcpu_info(0)->evtchn_upcall_mask = moves_callbacks(number);
    fill((page_t *)ARGUMENT);
    if (one_in(4))
        fill((page_t *)LIST);
    forget_requests_for_base_pointers();
    fill_requests(number);
    if (number == __HYPERVISOR_multicall) {
        for (unsigned int i = 0; i < ARRAY_SIZE(calls); i++)
            do {
                calls[i].op = one_in(16) ? word() : random() % HYPERCALLS;
                arguments_for(calls[i].op, arguments);
                memcpy(calls[i].args, arguments, sizeof(arguments));
            } while (is_forbidden_among_others(calls[i].op, arguments));
        result = hypercall5(number, one_in(8) ? 1ul << 63 : (uint64_t)calls, random() % (ARRAY_SIZE(calls) + 1), 0, 0, 0);
    } else {
        arguments_for(number, arguments);
        if (is_forbidden(number, arguments))
            return;
        if ((uint32_t)number == __HYPERVISOR_sched_op) {
            /* no sleep is for ever */
            vcpu_info(0)->evtchn_upcall_mask = 1;
            vcpu_info(0)->evtchn_upcall_pending = 1;
            if ((uint32_t)arguments[0] == SCHEDOP_poll)
                arguments[0] = SCHEDOP_yield;
        }
        result = hypercall5(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
    }
    made++;
    succeeded += result >= 0;
}

static uint64_t no_frames[16];

/* traps, callbacks, the GS base, a timer, and the page tables that it runs on */
static void repair(uint64_t number)
{
    static evtchn_bind_virq_t timer = { .virq = VIRQ_TIMER };
    struct vcpu_set_periodic_timer period = { .period_ns = 10000000 };

    hypercall3(__HYPERVISOR_set_gdt, (uint64_t)no_frames, 0, 0);
    mmuext_op(MMUEXT_NEW_BASEPTR, mfn_of((void *)pv_start_info()->pt_base), 0);
    if (moves_callbacks(number))
        traps_init_vcpu(0);
    hypercall3(__HYPERVISOR_fpu_taskswitch, 0, 0, 0);
    hypercall3(__HYPERVISOR_set_debugreg, 7, 0, 0);
    hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &timer);
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_set_periodic_timer, 0, (uint64_t)&period);
    vcpu_info(0)->evtchn_upcall_mask = 0;
}

static void take_events(struct frame *frame)
{
    vcpu_info_t *info = vcpu_info(0);

    (void)frame;
    info->evtchn_upcall_pending = 0;
    __atomic_exchange_n(&info->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
    memset(shared_info()->evtchn_pending, 0, sizeof(shared_info()->evtchn_pending));
    memset(shared_info()->evtchn_mask, 0, sizeof(shared_info()->evtchn_mask));
}

static void ignore(struct frame *frame)
{
    (void)frame;
}

void test_main(void)
{
    static const uint64_t favourites[] = {
        __HYPERVISOR_mmu_update, __HYPERVISOR_mmu_update, __HYPERVISOR_mmuext_op, __HYPERVISOR_mmuext_op,
        __HYPERVISOR_update_va_mapping, __HYPERVISOR_memory_op, __HYPERVISOR_event_channel_op,
        __HYPERVISOR_grant_table_op, __HYPERVISOR_vcpu_op, __HYPERVISOR_multicall, __HYPERVISOR_update_descriptor,
        __HYPERVISOR_set_gdt,
    };
    uint64_t iterations = option("iterations", 1000), seed = option("seed", 1), number;

    printk("seed %lu, %lu iterations\n", seed, iterations);
    random_seed(seed);
    pages = allocate_pages(PAGES);
    for (first_unmapped = pfn_of(pages); read_entry(address_of(first_unmapped)) & P; )
        first_unmapped++;
    map_at(WINDOW, entry_of(some_page(), P | RW));
    map_at(ARGUMENT, entry_of(allocate_page(), P | RW));
    map_at(LIST, entry_of(allocate_page(), P | RW));
    map_at(READONLY_VIRTUAL, entry_of(some_page(), P));
    tops[0] = new_top();
    tops[1] = new_top();
    set_handler(CALLBACK(event), take_events);
    set_handler(NMI, ignore);
    set_handler(CALLBACK(nmi), ignore);
    set_handler(DB, ignore);
    for (uint64_t i = 0; i < iterations; i++) {
        if (one_in(3))
            make_table();
        number = one_in(3) ? random() % HYPERCALLS : PICK(favourites);
        one_call(number);
        repair(number);
    }
    printk("\nsurvived %lu calls, %lu of which succeeded\n", made, succeeded);
}
