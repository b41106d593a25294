/* Exceptions of the processor: error codes, CR2, and what faults within faults do. */
#include "guest.h"

#include "cpu.h"
#include "memory.h"
#include "traps.h"

#define READONLY FREE_VIRTUAL
#define NO_EXECUTE (FREE_VIRTUAL + 0x1000)
#define ABSENT (FREE_VIRTUAL + 0x2000)
#define RESERVED (FREE_VIRTUAL + 0x3000)
#define NON_CANONICAL (1ull << 63)

#define CR0_WP (1ul << 16)
#define ACCESSED_DIRTY 0x60ul

static void load(uint64_t address)
{
    *(volatile uint8_t *)address;
}

static void store(uint64_t address)
{
    *(volatile uint8_t *)address = 1;
}

static void jump(uint64_t address)
{
    ((void (*)(void))address)();
}

#define expect_page_fault(code, address, error_code_) do { \
        struct fault fault_; \
        catch_fault(fault_, code); \
        expect_equal(fault_.vector, PF); \
        expect_equal(fault_.error_code, error_code_); \
        expect_equal(fault_.cr2, address); \
    } while (0)

static void test_page_faults(void)
{
    uint64_t page = (uint64_t)allocate_page();

    map_page(READONLY, page, PTE_PRESENT);
    map_page(NO_EXECUTE, page, PTE_PRESENT | PTE_WRITE | PTE_NX);
    map_page(RESERVED, page | 1ull << 51, PTE_PRESENT | PTE_WRITE);
    *(uint8_t *)page = 0xc3;

    load(READONLY);
    jump(READONLY);
    expect_page_fault(store(READONLY + 5), READONLY + 5, PF_PRESENT | PF_WRITE);
    store(NO_EXECUTE);
    expect_page_fault(jump(NO_EXECUTE), NO_EXECUTE, PF_PRESENT | PF_FETCH);
    expect_page_fault(load(ABSENT + 7), ABSENT + 7, 0);
    expect_page_fault(store(ABSENT), ABSENT, PF_WRITE);
    expect_page_fault(jump(ABSENT), ABSENT, PF_FETCH);
    expect_page_fault(load(RESERVED), RESERVED, PF_PRESENT | PF_RESERVED);
    /* a word across a page that is there and one that is not */
    expect_page_fault(*(volatile uint64_t *)(ABSENT - 4), ABSENT, 0);

    /* a supervisor writes to read-only pages where CR0.WP is clear */
    write_cr0(read_cr0() & ~CR0_WP);
    store(READONLY);
    write_cr0(read_cr0() | CR0_WP);
    expect_page_fault(store(READONLY), READONLY, PF_PRESENT | PF_WRITE);
}

static void test_accessed_and_dirty(void)
{
    uint64_t *entry = page_table_entry(NO_EXECUTE);

    *entry &= ~ACCESSED_DIRTY;
    invlpg((void *)NO_EXECUTE);
    load(NO_EXECUTE);
    expect_equal(*(volatile uint64_t *)entry & ACCESSED_DIRTY, 0x20);
    store(NO_EXECUTE);
    expect_equal(*(volatile uint64_t *)entry & ACCESSED_DIRTY, ACCESSED_DIRTY);
}

static void test_faults(void)
{
    struct fault fault;

    expect_fault(__asm__ volatile("divl %0" : : "r"(0), "a"(1), "d"(0)), DE, 0);
    expect_fault(__asm__ volatile("ud2"), UD, 0);
    expect_fault(__asm__ volatile(".byte 0x0f, 0xff, 0xc0"), UD, 0);
    expect_fault(load(NON_CANONICAL), GP, 0);
    expect_fault(__asm__ volatile("mov %0, %%ds" : : "r"(0x7f8)), GP, 0x7f8);
    expect_fault(__asm__ volatile("mov %0, %%ss" : : "r"(KERNEL_CS)), GP, KERNEL_CS);

    catch_fault(fault, __asm__ volatile("int3"));
    expect_equal(fault.vector, BP);
    catch_fault(fault, __asm__ volatile("int $0x42"));
    expect_equal(fault.vector, 0x42);
    expect_equal(fault.error_code, 0);
}

static void test_debug(void)
{
    struct fault fault;
    extern const uint8_t stepped[], watched[];

    catch_fault(fault, __asm__ volatile("pushf; orl %0, (%%rsp); popf; nop\n"
                                        "stepped: nop; nop" : : "i"(EFLAGS_TF)));
    expect_equal(fault.vector, DB);
    expect_equal(fault.rip, (uint64_t)stepped);
    expect_equal(read_dr6() & 0x400f, 0x4000);

    /* a breakpoint on an instruction */
    write_dr6(0);
    write_dr0((uint64_t)watched);
    write_dr7(0x401);
    catch_fault(fault, __asm__ volatile("nop\n watched: nop; nop"));
    expect_equal(fault.vector, DB);
    expect_equal(fault.rip, (uint64_t)watched);
    expect_equal(read_dr6() & 0x400f, 1);
    write_dr7(0x400);
}

/* a fault whose handler cannot be reached is a double fault, which has a stack of its own */
static void test_double_fault(void)
{
    struct __attribute__((packed)) { uint16_t limit; uint64_t base; } idt, short_idt;

    for (unsigned int i = 0; i < 3; i++)
        expect_fault(__asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(ABSENT + 16)), DF, 0);
    expect_fault(__asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(NON_CANONICAL)), DF, 0);
    expect_fault(__asm__ volatile("ud2"), UD, 0);

    /* with gates up to that of #DF only, #PF becomes #GP becomes #DF, and #UD alone is delivered */
    __asm__ volatile("sidt %0" : "=m"(idt));
    short_idt = idt;
    short_idt.limit = 9 * 16 - 1;
    __asm__ volatile("lidt %0" : : "m"(short_idt));
    expect_fault(__asm__ volatile("ud2"), UD, 0);
    expect_fault(load(ABSENT), DF, 0);
    expect_fault(__asm__ volatile("int $0x42"), DF, 0);
    __asm__ volatile("lidt %0" : : "m"(idt));
    expect_fault(load(ABSENT), PF, 0);
}

void test_main(void)
{
    test_page_faults();
    test_accessed_and_dirty();
    test_faults();
    test_debug();
    test_double_fault();
}
