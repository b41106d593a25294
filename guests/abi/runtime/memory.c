/* A pool of pages in the image itself, and page tables made from it. */
#include "guest.h"
#include "cpu.h"
#include "memory.h"

#define POOL_PAGES 512

static page_t pool[POOL_PAGES];
static unsigned int used;

void *allocate_page(void)
{
    if (used == POOL_PAGES) {
        printk("FAILURE: the pool of pages is empty\n");
        shutdown(SHUTDOWN_crash);
    }
    return &pool[used++];
}

uint64_t *page_table_entry(uint64_t virtual_address)
{
    uint64_t *table = boot_page_table;

    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = &table[virtual_address >> shift & 511];

        if (!(*entry & PTE_PRESENT))
            *entry = (uint64_t)allocate_page() | PTE_PRESENT | PTE_WRITE | PTE_USER;
        table = (uint64_t *)(*entry & PTE_ADDRESS);
    }
    return &table[virtual_address >> 12 & 511];
}

void map_page(uint64_t virtual_address, uint64_t physical_address, uint64_t flags)
{
    *page_table_entry(virtual_address) = physical_address | flags;
    invlpg((void *)virtual_address);
}
