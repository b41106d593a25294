/* Pages, and their mapping beside the one-to-one map of the low 4 GiB. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdint.h>

enum { PTE_PRESENT = 1, PTE_WRITE = 2, PTE_USER = 4, PTE_LARGE = 0x80 };
#define PTE_NX (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define HOLE 0x80000000ull /* guest-physical addresses from here to 0xfc000000 are empty */
#define FREE_VIRTUAL 0x10000000000ull /* nothing is mapped from here on */

extern uint64_t boot_page_table[512];

void *allocate_page(void); /* zeroed, mapped one to one */
static inline uint64_t gfn_of(const volatile void *page) { return (uint64_t)page >> 12; }
static inline void *page_at(uint64_t gfn) { return (void *)(gfn << 12); }

/* map one page; levels above are made as needed, writable and open to the user */
void map_page(uint64_t virtual_address, uint64_t physical_address, uint64_t flags);
uint64_t *page_table_entry(uint64_t virtual_address); /* of the last level, made as needed */

#endif
