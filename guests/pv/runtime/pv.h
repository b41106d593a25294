/*
 * What a PV guest has of its own: its frames by both of their numbers, and the hypercalls that change page tables.
 */
#ifndef PV_H
#define PV_H

#include "guest.h"
#include "pv_layout.h"

#include <xen/errno.h>
#include <xen/memory.h>

enum { P = 1, RW = 2, US = 4, ACCESSED = 0x20, DIRTY = 0x40 };

#define PTE_ADDRESS 0x000ffffffffff000ul

/* the machine frame of a pseudo-physical one */
#define p2m ((const uint64_t *)pv_start_info()->mfn_list)

static inline const start_info_t *pv_start_info(void)
{
    return (const start_info_t *)start_info_address;
}

/* of anything that is mapped from VIRT_BASE on */
static inline uint64_t pfn_of(const void *address)
{
    return ((uint64_t)address - VIRT_BASE) >> PAGE_SHIFT;
}

static inline uint64_t mfn_of(const void *address)
{
    return p2m[pfn_of(address)];
}

static inline void *address_of(uint64_t pfn)
{
    return (void *)(VIRT_BASE + (pfn << PAGE_SHIFT));
}

static inline uint64_t entry_of(const void *page, uint64_t flags)
{
    return mfn_of(page) << PAGE_SHIFT | flags;
}

/* pages of the image's own, mapped writable, until they run out */
void *allocate_pages(unsigned int count);
static inline void *allocate_page(void) { return allocate_pages(1); }

long update_va_mapping(const void *address, uint64_t entry);
long mmu_update(uint64_t pointer, uint64_t value); /* one; the kind is in the pointer's low bits */
long mmuext_op(unsigned int command, uint64_t argument1, uint64_t argument2);

/* a page as the guest has it mapped, its flags changed; the hypercall's result */
long remap(const void *page, uint64_t flags);

/* the machine address of the entry that maps an address; 0 where there is no table for it */
uint64_t entry_address(const void *address);
uint64_t read_entry(const void *address); /* that entry */

/* the page table that maps an address, at a level from 1 to 4, where the guest can read it */
const uint64_t *table_of(const void *address, int level);

/* a zeroed page mapped read-only, so that it can become a table */
uint64_t *new_table(void);

/* map a page at an address that has no table yet or one of map_at()'s; failures are reported */
void map_at(uint64_t address, uint64_t entry);

/* another top page table with the kernel's own entries, pinned; so a program sees all that the kernel does */
uint64_t *new_top(void);

#endif
