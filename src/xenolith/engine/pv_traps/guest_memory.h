/*
 * Memory of a PV guest, by the page tables in use.
 */
#ifndef XENOLITH_PV_GUEST_MEMORY_H
#define XENOLITH_PV_GUEST_MEMORY_H

#include <string.h>

#include "trap_context.h"

static uint8_t *machine(const struct trap_context *context, uint64_t address, uint64_t size)
{
    if (address < context->memory_size && size <= context->memory_size - address)
        return context->memory + address;
    address -= context->private_base;
    if (address < context->private_size && size <= context->private_size - address)
        return context->private_memory + address;
    return NULL;
}

static uint64_t root_in_use(const struct trap_context *context)
{
    return context->vcpu->roots[context->vcpu->in_kernel];
}

/*
 * The host's address of a guest-virtual byte by the page tables in use, their bits set as by an access; NULL where
 * there is none, or it is Xen's: what of that the processor lets a guest read is no memory of its, and some is ring
 * 0's alone, whose accesses these look like.
 */
static uint8_t *translate(const struct trap_context *context, uint64_t address, int write)
{
    uint64_t table = root_in_use(context), wanted = PTE_PRESENT | (write ? PTE_WRITABLE : 0);
    int shift;

    if ((uint64_t)((int64_t)(address << 16) >> 16) != address || (address >= XEN_START && address < XEN_END))
        return NULL;
    for (shift = 39;; shift -= 9) {
        uint64_t *entry = (uint64_t *)machine(context, table + 8 * (address >> shift & 511), 8);
        uint64_t mask = (1ull << shift) - 1;
        int leaf;

        if (!entry || (*entry & wanted) != wanted)
            return NULL;
        leaf = shift == 12 || (*entry & PTE_LARGE);
        *entry |= PTE_ACCESSED | (leaf && write ? PTE_DIRTY : 0);
        if (leaf)
            return machine(context, (*entry & PTE_ADDRESS & ~mask) | (address & mask), 1);
        table = *entry & PTE_ADDRESS;
    }
}

static int copy(const struct trap_context *context, uint64_t address, void *data, uint64_t size, int write)
{
    uint8_t *bytes = data;

    while (size) {
        uint64_t room = PAGE_SIZE - address % PAGE_SIZE, part = size < room ? size : room;
        uint8_t *host = translate(context, address, write);

        if (!host)
            return 0;
        if (write)
            memcpy(host, bytes, part);
        else
            memcpy(bytes, host, part);
        address += part, bytes += part, size -= part;
    }
    return 1;
}

#endif
