/* Descriptor tables of the guest's own: what may be in them, and what an LDT shows that is not all there. */
#include "pv.h"
#include "traps.h"

#define DATA 0x00cff3000000ffffull
#define LDT_SELECTOR(index) ((index) * 8 | 7)

static uint64_t machine_address(const uint64_t *descriptor)
{
    return (mfn_of((void *)((uint64_t)descriptor & ~4095ul)) << PAGE_SHIFT) | ((uint64_t)descriptor & 4095);
}

static long update_descriptor(const uint64_t *at, uint64_t descriptor)
{
    return hypercall3(__HYPERVISOR_update_descriptor, machine_address(at), descriptor, 0);
}

/* a call: the compiler takes it that none but those do not return */
static __attribute__((noinline)) void set_ds(uint16_t selector)
{
    __asm__ volatile("mov %0, %%ds" : : "r"(selector));
}

static struct fault load_ds(uint16_t selector)
{
    struct fault fault;

    catch_fault(fault, set_ds(selector));
    set_ds(0);
    return fault;
}

static void global_table(void)
{
    uint64_t *table = allocate_page(), frame = mfn_of(table);

    memset(table, 0, PAGE_SIZE);
    table[1] = DATA;
    expect_equal(hypercall3(__HYPERVISOR_set_gdt, (uint64_t)&frame, 512, 0), -XEN_EINVAL); /* it can be written */
    expect_equal(remap(table, P), 0);
    expect_equal(hypercall3(__HYPERVISOR_set_gdt, (uint64_t)&frame, 512, 0), 0);
    expect_equal(load_ds(1 * 8 | 3).vector, NO_FAULT);
    expect_equal(load_ds(2 * 8 | 3).vector, GP);
    expect_equal(update_descriptor(&table[2], DATA & ~(3ull << 45)), 0);
    expect_equal(table[2] >> 45 & 3, 3); /* no segment is more privileged */
    expect_equal(load_ds(2 * 8 | 3).vector, NO_FAULT);
    expect_equal(update_descriptor(&table[3], 0x0000890000000067), -XEN_EINVAL); /* a TSS */
    expect_equal(update_descriptor(&table[3], 0x0000820000000067), -XEN_EINVAL); /* an LDT */
    expect_equal(remap(table, P | RW), -XEN_EINVAL);
    expect_equal(hypercall3(__HYPERVISOR_set_gdt, (uint64_t)&frame, 7169, 0), -XEN_EINVAL);
    expect_equal(hypercall3(__HYPERVISOR_set_gdt, 0x1000, 512, 0), -XEN_EFAULT);
    expect_equal(hypercall3(__HYPERVISOR_set_gdt, 0, 0, 0), 0);
    expect_equal(load_ds(1 * 8 | 3).vector, GP);
    expect_equal(remap(table, P | RW), 0);
}

static void expect_unmapped(const uint64_t *descriptor, uint16_t selector)
{
    struct fault fault = load_ds(selector);

    expect_equal(fault.vector, PF);
    expect_equal(fault.error_code, 0);
    expect_equal(fault.cr2, (uint64_t)descriptor);
}

static void local_table(void)
{
    uint64_t *table = allocate_pages(3);

    memset(table, 0, 3 * PAGE_SIZE);
    table[5] = DATA;
    table[512 + 5] = DATA;
    table[1024 + 5] = DATA;
    expect_equal(remap(table, P), 0);
    expect_equal(remap(&table[512], 0), 0);
    expect_equal(mmuext_op(MMUEXT_SET_LDT, (uint64_t)table, 8193), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_SET_LDT, (uint64_t)table + 8, 512), -XEN_EINVAL);
    expect_equal(mmuext_op(MMUEXT_SET_LDT, (uint64_t)table, 3 * 512), 0);
    expect_equal(load_ds(LDT_SELECTOR(5)).vector, NO_FAULT);
    expect_equal(load_ds(LDT_SELECTOR(6)).vector, GP);
    expect_unmapped(&table[512 + 5], LDT_SELECTOR(512 + 5));
    expect_unmapped(&table[1024 + 5], LDT_SELECTOR(1024 + 5)); /* it can be written */
    expect_equal(remap(&table[512], P), 0);
    expect_equal(remap(&table[1024], P), 0);
    expect_equal(load_ds(LDT_SELECTOR(512 + 5)).vector, NO_FAULT);
    expect_equal(load_ds(LDT_SELECTOR(512 + 6)).vector, GP);
    expect_equal(load_ds(LDT_SELECTOR(1024 + 5)).vector, NO_FAULT);
    expect_equal(load_ds(LDT_SELECTOR(3 * 512)).error_code, LDT_SELECTOR(3 * 512) & ~3);

    expect_equal(remap(table, P | RW), -XEN_EINVAL);
    expect_equal(remap(table, 0), 0); /* which gives the whole LDT up, until it is used again */
    expect_equal(load_ds(LDT_SELECTOR(512 + 5)).vector, NO_FAULT);
    expect_equal(remap(table, P | RW), 0);
    expect_unmapped(&table[5], LDT_SELECTOR(5));
    expect_equal(load_ds(LDT_SELECTOR(1024 + 5)).vector, NO_FAULT);
    expect_equal(remap(table, P), 0);
    expect_equal(load_ds(LDT_SELECTOR(5)).vector, NO_FAULT);
    expect_equal(update_descriptor(&table[512 + 5], 0), 0);
    expect_equal(remap(&table[512], 0), 0);
    expect_equal(mmuext_op(MMUEXT_PIN_L1_TABLE, mfn_of(&table[512]), 0), 0); /* a table that maps nothing */
    expect_unmapped(&table[512 + 5], LDT_SELECTOR(512 + 5));
    expect_equal(mmuext_op(MMUEXT_UNPIN_TABLE, mfn_of(&table[512]), 0), 0);

    expect_equal(mmuext_op(MMUEXT_SET_LDT, 0, 0), 0);
    expect_equal(load_ds(LDT_SELECTOR(5)).vector, GP);
    expect_equal(remap(table, P | RW), 0);
}

extern const uint8_t user_int3[];
__asm__(".section .text; user_int3: int3; ud2");

/* a program's code segment, on a page that is mapped only after SET_LDT, and given up in between */
static void returns_to_local_segments(void)
{
    static uint8_t stack[256] __attribute__((aligned(16)));
    uint64_t *table = allocate_page(), *top = new_top();
    struct iret_frame frame = {
        .rip = (uint64_t)user_int3, .cs = LDT_SELECTOR(1), .ss = LDT_SELECTOR(2), .rflags = EFLAGS_IF,
        .rsp = (uint64_t)stack + sizeof(stack),
    };
    struct fault fault;

    memset(table, 0, PAGE_SIZE);
    table[1] = 0x00affb000000ffffull;
    table[2] = DATA;
    expect_equal(mmu_update((mfn_of(top) << PAGE_SHIFT), ((uint64_t *)pv_start_info()->pt_base)[0]), 0);
    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(top), 0), 0);
    expect_equal(remap(table, 0), 0);
    expect_equal(mmuext_op(MMUEXT_SET_LDT, (uint64_t)table, 512), 0);
    expect_equal(remap(table, P), 0);
    for (unsigned int i = 0; i < 2; i++) {
        catch_fault(fault, iret(&frame));
        expect_equal(fault.vector, BP);
        expect_equal(fault.cs, LDT_SELECTOR(1));
        expect_equal(fault.ss, LDT_SELECTOR(2));
        expect_equal(remap(table, 0), 0);
        expect_equal(remap(table, P | RW), 0);
        expect_equal(remap(table, P), 0);
    }
    expect_equal(mmuext_op(MMUEXT_SET_LDT, 0, 0), 0);
}

void test_main(void)
{
    global_table();
    local_table();
    returns_to_local_segments();
    expect_equal(mmuext_op(MMUEXT_MARK_SUPER, 0, 0), -XEN_EOPNOTSUPP);
}
