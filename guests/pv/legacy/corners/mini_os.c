/* What a kernel finds that told Xen of itself in __xen_guest: all that it needs mapped behind it, and its hypercalls. */
#include "guest.h"

extern uint8_t hypercall_page[PAGE_SIZE];

void test_main(void)
{
    const start_info_t *info = (const start_info_t *)start_info_address;
    const uint64_t *list = (const uint64_t *)info->mfn_list;

    expect_equal(memcmp(info->magic, "xen-3.0-x86_64", 15), 0);
    expect_equal(option("answer", 0), 42);
    expect(info->nr_pages > 0);
    /* no INIT_P2M: the list lies behind the image, and so do the tables that map everything */
    expect(info->mfn_list > start_info_address - info->nr_pages * 8 - PAGE_SIZE);
    expect(info->mfn_list < start_info_address);
    expect(info->pt_base > start_info_address);
    expect_equal(info->first_p2m_pfn, 0);
    for (uint64_t pfn = 1; pfn < info->nr_pages; pfn++)
        if (list[pfn] == list[pfn - 1])
            expect_equal(list[pfn], ~0ul);
    /* mov eax, 24 in the stub of vcpu_op */
    expect_equal(hypercall_page[24 * 32 + 3], 0xb8);
    expect_equal(*(const uint32_t *)&hypercall_page[24 * 32 + 4], 24);
    expect_equal(hypercall3(__HYPERVISOR_xen_version, 0, 0, 0) >> 16, 4);
}
