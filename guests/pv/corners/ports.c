/* I/O ports: who may use them, by privilege level or bitmap, and what there is where a domain was given none. */
#include "pv.h"
#include "traps.h"

#include <xen/physdev.h>

#define PORTS 65536
#define DATA 0x400000ul
#define CODE32 0x401000ul
#define DIRECTION (1u << 10)

static uint8_t *data;

static long set_iopl(uint32_t level)
{
    struct physdev_set_iopl argument = { .iopl = level };

    return hypercall(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &argument);
}

static long set_iobitmap(const void *bitmap, uint32_t ports)
{
    struct physdev_set_iobitmap argument = { .nr_ports = ports };

    set_xen_guest_handle(argument.bitmap, (uint8_t *)bitmap);
    return hypercall(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iobitmap, &argument);
}

USER_CODE(user_in_byte, "in %dx, %al");
USER_CODE(user_out_byte, "out %al, %dx");
USER_CODE(user_in_long, "in %dx, %eax");
USER_CODE(user_out_long, "out %eax, %dx");
USER_CODE(user_ins, "mov $0x400ffd, %edi; mov $1, %ecx; rep insb");
USER_CODE(user_cli, "cli; sti");
USER_CODE(user_hlt, "hlt");

static struct frame last;

static void remember(struct frame *frame)
{
    last = *frame;
    recover(frame);
}

static struct fault run(uint64_t cs, uint64_t code, uint16_t port, uint32_t value)
{
    struct iret_frame frame = program_frame(cs, (const void *)code);
    struct fault fault;

    frame.rax = value;
    catch_fault(fault, __asm__ volatile("" : : "d"((uint64_t)port)); iret(&frame));
    return fault;
}

#define in_user_mode(code, port, value) run(FLAT_CS64, (uint64_t)(code), port, value)

static uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("in %%dx, %0" : "=a"(value) : "d"(port));
    return value;
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("in %%dx, %0" : "=a"(value) : "d"(port));
    return value;
}

static uint64_t in16(uint16_t port)
{
    uint64_t value = 0x1122334455667788;

    __asm__ volatile("inw %%dx, %%ax" : "+a"(value) : "d"(port));
    return value;
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("out %0, %%dx" : : "a"(value), "d"(port));
}

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("out %0, %%dx" : : "a"(value), "d"(port));
}

static void hypercalls(void)
{
    expect_equal(set_iopl(4), -XEN_EINVAL);
    expect_equal(set_iobitmap(data, PORTS + 1), -XEN_EINVAL);
    expect_equal(set_iobitmap((void *)0xffff810000000000, PORTS), -XEN_EINVAL);
    expect_equal(hypercall(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iobitmap, (void *)0x1000), -XEN_EFAULT);
}

static void without_permission(void)
{
    expect_equal(set_iopl(0), 0);
    expect_fault(in8(0x80), GP, 0);
    expect_fault(out8(0x80, 0), GP, 0);
    expect_fault(__asm__ volatile("cli"), GP, 0);
    expect_fault(__asm__ volatile("rep insb" : : "D"(data), "c"(1), "d"(0x80) : "memory"), GP, 0);
}

static void in_the_kernel(void)
{
    expect_equal(set_iopl(1), 0);
    expect_equal(in8(0x80), 0xff);
    expect_equal(in16(0x3f8), 0x112233445566ffff);
    expect_equal(in32(0x3f8), 0xffffffff);
    out8(0x70, 0x8f);
    expect_equal(in8(0x70), 0x8f);
    expect_equal(in8(0x71), 0xff);
    out32(0xcf8, 0x80001234);
    expect_equal(in32(0xcf8), 0x80001234);
    expect_equal(in8(0xcf8), 0xff);
    expect_equal(in32(0xcfc), 0xffffffff);
    out32(0xcfc, 0);
    expect_equal(in8(0xffff), 0xff);
    __asm__ volatile("cli; sti");
}

struct string_result {
    uint64_t index, count;
};

static __attribute__((noinline)) struct string_result rep_ins(uint64_t to, uint64_t count)
{
    struct string_result result = { to, count };

    __asm__ volatile("rep insb" : "+D"(result.index), "+c"(result.count) : "d"(0x80) : "memory");
    return result;
}

static void strings(void)
{
    struct string_result result;
    uint64_t index, count;

    memset(data, 0, PAGE_SIZE);
    result = rep_ins(DATA, 1000);
    expect_equal(result.index, DATA + 1000);
    expect_equal(result.count, 0);
    expect_equal(data[999], 0xff);
    expect_equal(data[1000], 0);
    result = rep_ins(DATA, 0);
    expect_equal(result.index, DATA);
    index = DATA + 2004, count = 2;
    __asm__ volatile("std; rep insl; cld" : "+D"(index), "+c"(count) : "d"(0x80) : "memory");
    expect_equal(index, DATA + 1996);
    expect_equal(data[2000], 0xff);
    expect_equal(data[2007], 0xff);
    expect_equal(data[1999], 0);
    index = DATA, count = 1ul << 32 | 3; /* ECX and EDI */
    __asm__ volatile("addr32 rep insw" : "+D"(index), "+c"(count) : "d"(0x80) : "memory");
    expect_equal(index, DATA + 6);
    expect_equal(count, 0);
    index = DATA;
    __asm__ volatile("outsb" : "+S"(index) : "d"(0x80) : "memory");
    expect_equal(index, DATA + 1);
    *(uint32_t *)data = 0x80abcd00;
    index = DATA, count = 1;
    __asm__ volatile("rep outsl" : "+S"(index), "+c"(count) : "d"(0xcf8) : "memory");
    expect_equal(in32(0xcf8), 0x80abcd00);
}

/* what was done before the fault is done, and the rest is left */
static void string_faults(void)
{
    struct fault fault;

    set_handler(PF, remember);
    memset(data, 0, PAGE_SIZE);
    catch_fault(fault, rep_ins(DATA + PAGE_SIZE - 3, 10));
    expect_equal(fault.vector, PF);
    expect_equal(fault.error_code & ~(uint64_t)PF_PRESENT, PF_WRITE);
    expect_equal(fault.cr2, DATA + PAGE_SIZE);
    expect_equal(data[PAGE_SIZE - 1], 0xff);
    expect_equal(last.rcx, 7);
    expect_equal(last.rdi, DATA + PAGE_SIZE);
    data[PAGE_SIZE - 1] = 0;
    expect_fault(__asm__ volatile("insw" : : "D"(DATA + PAGE_SIZE - 1), "d"(0x80) : "memory"), PF, PF_WRITE);
    expect_equal(data[PAGE_SIZE - 1], 0);
    expect_fault(__asm__ volatile("rep outsb" : : "S"(DATA + PAGE_SIZE), "c"(1), "d"(0x80) : "memory"), PF, 0);
    expect_fault(rep_ins(1ul << 62, 1), GP, 0);
    catch_fault(fault, rep_ins(0xffff820000000000, 1)); /* Xen's; emulators look at the memory first */
    expect_equal(fault.vector == GP || fault.vector == PF, 1);
    set_handler(PF, recover);
}

static void privileged_programs(void)
{
    struct fault fault;

    expect_equal(set_iopl(2), 0);
    expect_equal(in_user_mode(user_in_byte, 0x80, 0).vector, GP);
    expect_equal(set_iopl(3), 0);
    set_handler(UD, remember);
    fault = in_user_mode(user_in_byte, 0x80, 0x1200);
    expect_equal(fault.vector, UD);
    expect_equal(fault.cs & 3, 3);
    expect_equal(last.rax, 0x12ff);
    expect_equal(in_user_mode(user_out_byte, 0x80, 0).vector, UD);
    fault = in_user_mode(user_ins, 0x80, 0);
    expect_equal(fault.vector, UD);
    expect_equal(data[PAGE_SIZE - 3], 0xff);
    expect_equal(in_user_mode(user_cli, 0, 0).vector, UD);
    fault = in_user_mode(user_hlt, 0, 0);
    expect_equal(fault.vector, GP);
    expect_equal(fault.rip, (uint64_t)user_hlt);
}

static void programs_with_a_bitmap(void)
{
    uint8_t *bitmap = allocate_pages(3);
    struct fault fault;

    expect_equal(set_iopl(1), 0);
    memset(bitmap, 0xff, 3 * PAGE_SIZE);
    bitmap[0x80 / 8] &= ~1;
    bitmap[0x3f8 / 8] = 0x0f; /* 0x3fc to 0x3ff */
    expect_equal(set_iobitmap(bitmap, PORTS), 0);
    fault = in_user_mode(user_in_byte, 0x80, 0);
    expect_equal(fault.vector, UD);
    expect_equal(last.rax, 0xff);
    expect_equal(in_user_mode(user_out_byte, 0x80, 0).vector, UD);
    fault = in_user_mode(user_in_byte, 0x81, 0);
    expect_equal(fault.vector, GP);
    expect_equal(fault.error_code, 0);
    expect_equal(fault.rip, (uint64_t)user_in_byte);
    expect_equal(in_user_mode(user_in_long, 0x80, 0).vector, GP);
    expect_equal(in_user_mode(user_in_long, 0x3fc, 0).vector, UD);
    expect_equal(last.rax, 0xffffffff);
    expect_equal(in_user_mode(user_in_long, 0x3fb, 0).vector, GP);
    expect_equal(in_user_mode(user_in_long, 0x3fd, 0).vector, GP);
    expect_equal(in_user_mode(user_out_long, 0x3fc, 0).vector, UD);
    expect_equal(in_user_mode(user_cli, 0x80, 0).vector, GP);
    expect_equal(set_iobitmap(bitmap, 0x3ff), 0); /* one bit less than it takes */
    expect_equal(in_user_mode(user_in_long, 0x3fc, 0).vector, GP);
    expect_equal(in_user_mode(user_in_byte, 0x3fc, 0).vector, UD);
    expect_equal(set_iobitmap((void *)0x1000, PORTS), 0); /* where nothing is */
    fault = in_user_mode(user_in_byte, 0x80, 0);
    expect_equal(fault.vector, PF);
    expect_equal(fault.error_code, PF_USER);
    expect_equal(fault.cr2, 0x1000 + 0x80 / 8);
    expect_equal(set_iobitmap(bitmap, 0), 0);
    expect_equal(in_user_mode(user_in_byte, 0x80, 0).vector, GP);
}

/* where 0x40 to 0x4f are no prefixes */
static void programs_of_32_bits(void)
{
    static const uint8_t code[] = {
        0x66, 0xba, 0x80, 0x00, /* mov $0x80, %dx */
        0x40,                   /* inc %eax */
        0xec,                   /* in %dx, %al */
        0xbf, 0x00, 0x08, 0x40, 0x00, /* mov $0x400800, %edi */
        0x6d,                   /* insl */
        0x0f, 0x0b,             /* ud2 */
    };
    uint8_t *page = allocate_page();
    struct fault fault;

    map_at(CODE32, entry_of(page, P | RW | US));
    memcpy(page, code, sizeof(code));
    memset(data, 0, PAGE_SIZE);
    __asm__ volatile("mov %0, %%es" : : "r"(FLAT_DS));
    expect_equal(set_iopl(3), 0);
    fault = run(FLAT_CS32, CODE32, 0, 0x100);
    expect_equal(fault.vector, UD);
    expect_equal(fault.rip, CODE32 + sizeof(code) - 2);
    expect_equal(last.rax, 0x1ff);
    expect_equal(data[0x803], 0xff);
    expect_equal(data[0x804], 0);
    expect_equal(last.rdi, 0x400804);
}

void test_main(void)
{
    uint64_t *top = new_top();

    data = (uint8_t *)DATA;
    map_at(DATA, entry_of(allocate_page(), P | RW | US));
    expect_equal(mmu_update((mfn_of(top) << PAGE_SHIFT), ((uint64_t *)pv_start_info()->pt_base)[0]), 0);
    expect_equal(mmuext_op(MMUEXT_NEW_USER_BASEPTR, mfn_of(top), 0), 0);
    hypercalls();
    without_permission();
    in_the_kernel();
    strings();
    string_faults();
    privileged_programs();
    programs_with_a_bitmap();
    programs_of_32_bits();
}
