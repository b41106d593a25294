/* The memory map: the start info's is XENMEM_memory_map's, and what it calls RAM is there. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/memory.h>

struct __attribute__((packed)) e820entry { uint64_t addr, size; uint32_t type; };

static struct e820entry entries[128];

static long memory_map(unsigned int *count, void *buffer)
{
    struct xen_memory_map argument = { .nr_entries = *count };

    set_xen_guest_handle(argument.buffer, buffer);
    long result = hypercall(__HYPERVISOR_memory_op, XENMEM_memory_map, &argument);
    *count = argument.nr_entries;
    return result;
}

static void test_end_of_ram(uint64_t end)
{
    volatile uint64_t *last = (uint64_t *)(end - 8), *behind = (uint64_t *)end;

    *last = 0x5eed;
    expect_equal(*last, 0x5eed);
    *behind = 0x5eed;
    expect_equal(*behind, ~0ul);
}

void test_main(void)
{
    const struct hvm_memmap_table_entry *table = (void *)start_info()->memmap_paddr;
    unsigned int count = ARRAY_SIZE(entries), too_few;
    uint64_t ram = 0;

    expect(start_info()->version >= 1);
    expect_equal(memory_map(&count, entries), 0);
    expect_equal(count, start_info()->memmap_entries);
    for (unsigned int i = 0; i < count; i++) {
        expect_equal(entries[i].addr, table[i].addr);
        expect_equal(entries[i].size, table[i].size);
        expect_equal(entries[i].type, table[i].type);
        if (table[i].type == XEN_HVM_MEMMAP_TYPE_RAM)
            ram += table[i].size;
    }
    expect_equal(ram, option("memory", 0) << 20);
    too_few = count - 1;
    expect_equal(memory_map(&too_few, entries), 0);
    expect_equal(too_few, count - 1);
    expect_equal(memory_map(&count, (void *)(1ul << 63)), -XEN_EFAULT);
    test_end_of_ram(table[0].addr + table[0].size);

    /* the RSDP that the start info promises */
    expect_equal(memcmp((void *)start_info()->rsdp_paddr, "RSD PTR ", 8), 0);
}
