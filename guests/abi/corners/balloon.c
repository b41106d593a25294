/* Giving memory back and taking it again: a hole reads as all ones, a new frame as zeros. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/memory.h>

#include "memory.h"

#define FRAMES 600 /* more than one batch of the hypervisor's */
#define FIRST (0x1000000ull >> PAGE_SHIFT) /* 16 MiB: behind all that is in use */

static uint64_t gfns[FRAMES];

static long reservation(unsigned int command, uint64_t *list, uint64_t count, unsigned int order)
{
    struct xen_memory_reservation argument = { .nr_extents = count, .extent_order = order, .domid = DOMID_SELF };

    set_xen_guest_handle(argument.extent_start, list);
    return hypercall(__HYPERVISOR_memory_op, command, &argument);
}

static long query(unsigned int command)
{
    domid_t domid = DOMID_SELF;

    return hypercall(__HYPERVISOR_memory_op, command, &domid);
}

static volatile uint64_t *word(uint64_t gfn)
{
    return page_at(gfn);
}

static void test_frames(void)
{
    long held = query(XENMEM_current_reservation);

    for (unsigned int i = 0; i < FRAMES; i++) {
        gfns[i] = FIRST + i;
        *word(gfns[i]) = 0x5eed + i;
    }
    expect_equal(reservation(XENMEM_decrease_reservation, gfns, FRAMES, 0), FRAMES);
    expect_equal(query(XENMEM_current_reservation), held - FRAMES);
    for (unsigned int i = 0; i < FRAMES; i++)
        expect_equal(*word(gfns[i]), ~0ul);
    *word(FIRST) = 1;
    expect_equal(*word(FIRST), ~0ul);
    expect_equal(reservation(XENMEM_decrease_reservation, gfns, FRAMES, 0), 0);

    expect_equal(reservation(XENMEM_populate_physmap, gfns, FRAMES, 0), FRAMES);
    expect_equal(query(XENMEM_current_reservation), held);
    for (unsigned int i = 0; i < FRAMES; i++) {
        for (unsigned int j = 0; j < 512; j++)
            if (word(gfns[i])[j])
                fail(__FILE__, __LINE__, "frame %#lx is not zero", gfns[i]);
        *word(gfns[i]) = i;
        expect_equal(*word(gfns[i]), i);
    }
}

static void test_large_extent(void)
{
    uint64_t gfn = FIRST, elsewhere = HOLE >> PAGE_SHIFT;
    long held = query(XENMEM_current_reservation);

    expect_equal(reservation(XENMEM_decrease_reservation, &gfn, 1, 9), 1);
    expect_equal(query(XENMEM_current_reservation), held - 512);
    expect_equal(*word(FIRST + 511), ~0ul);
    /* frames may come to lie where no RAM was */
    expect_equal(reservation(XENMEM_populate_physmap, &elsewhere, 1, 9), 1);
    *word(elsewhere + 511) = 0x5eed;
    expect_equal(*word(elsewhere + 511), 0x5eed);
    expect_equal(query(XENMEM_current_reservation), held);
    expect(query(XENMEM_maximum_gpfn) >= (long)elsewhere + 511);
    /* there is no more than the domain may have */
    expect_equal(reservation(XENMEM_populate_physmap, &gfn, 1, 0), 0);
    expect_equal(reservation(XENMEM_decrease_reservation, &elsewhere, 1, 9), 1);
    expect_equal(reservation(XENMEM_populate_physmap, &gfn, 1, 9), 1);
    expect_equal(*word(FIRST), 0);
}

/* code that was run is forgotten with its frame */
static void test_code(void)
{
    static const uint8_t seven[] = { 0xb8, 7, 0, 0, 0, 0xc3 };
    uint64_t gfn = FIRST;
    int (*function)(void) = page_at(FIRST);

    memcpy(page_at(FIRST), seven, sizeof(seven));
    expect_equal(function(), 7);
    expect_equal(reservation(XENMEM_decrease_reservation, &gfn, 1, 0), 1);
    expect_equal(reservation(XENMEM_populate_physmap, &gfn, 1, 0), 1);
    memcpy(page_at(FIRST), seven, sizeof(seven));
    ((uint8_t *)page_at(FIRST))[1] = 8;
    expect_equal(function(), 8);
}

static void test_single_frames(void)
{
    struct xen_remove_from_physmap removal = { .domid = DOMID_SELF, .gpfn = FIRST };
    struct xen_add_to_physmap move = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .idx = FIRST + 1, .gpfn = FIRST,
    };

    *word(FIRST + 1) = 0x5eed;
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, &removal), 0);
    expect_equal(*word(FIRST), ~0ul);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, &removal), -XEN_ENOENT);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &move), 0);
    expect_equal(*word(FIRST), 0x5eed);
    expect_equal(*word(FIRST + 1), ~0ul);
}

void test_main(void)
{
    test_frames();
    test_large_extent();
    test_code();
    test_single_frames();
    expect_equal(reservation(XENMEM_populate_physmap, (void *)(1ul << 63), 1, 0), 0);
    expect_equal(reservation(XENMEM_populate_physmap, gfns, 1, 30), 0);
    expect_equal(query(60), -XEN_ENOSYS);
}
