/* memory_op, hvm_op and xen_version with the structs that a 32-bit compiler makes of Xen's headers. */
#include "guest.h"

#include <xen/features.h>
#include <xen/memory.h>
#include <xen/version.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#define ENOSYS 38
#define EPERM 1
#define EFAULT 14
#define FRAMES 3
#define HOLE 0x80000u /* the first frame of 2 GiB, where nothing is */

struct e820 {
    uint64_t address, size;
    uint32_t type;
} __attribute__((packed));

static page_t pages[FRAMES];

static void test_version(void)
{
    struct {
        xen_feature_info_t info;
        uint32_t behind;
    } features = { { .submap_idx = 0 }, 0x1234 };
    struct {
        xen_platform_parameters_t parameters;
        uint32_t behind;
    } platform = { { 1 }, 0x1234 };
    xen_extraversion_t extra;

    expect_equal(hypercall(__HYPERVISOR_xen_version, XENVER_version, NULL) >> 16, 4);
    expect_equal(hypercall(__HYPERVISOR_xen_version, XENVER_get_features, &features), 0);
    expect(features.info.submap & 1 << XENFEAT_auto_translated_physmap);
    expect_equal(features.behind, 0x1234);
    expect_equal(hypercall(__HYPERVISOR_xen_version, XENVER_platform_parameters, &platform), 0);
    expect_equal(platform.behind, 0x1234);
    expect_equal(hypercall(__HYPERVISOR_xen_version, XENVER_extraversion, extra), 0);
    expect_equal(extra[0], '.');
}

static void test_memory_map(void)
{
    static struct e820 map[128];
    struct xen_memory_map asked = { .nr_entries = 128 };
    uint64_t ram = 0;

    set_xen_guest_handle(asked.buffer, map);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_memory_map, &asked), 0);
    expect(asked.nr_entries > 1 && asked.nr_entries < 128);
    expect_equal((uint32_t)asked.buffer.p, (uint32_t)map);
    for (unsigned int i = 0; i < asked.nr_entries; i++)
        if (map[i].type == 1)
            ram += map[i].size;
    expect_equal(ram >> 20, 32);
}

static void test_reservation(void)
{
    domid_t self = DOMID_SELF;
    xen_pfn_t frames[FRAMES] = { frame_of(&pages[0]), frame_of(&pages[1]), frame_of(&pages[2]) };
    struct xen_memory_reservation list = { .nr_extents = FRAMES, .domid = DOMID_SELF };
    struct xen_memory_reservation nowhere = { .nr_extents = FRAMES, .domid = DOMID_SELF };
    int before = hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &self);

    set_xen_guest_handle(list.extent_start, frames);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &list), FRAMES);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &self), before - FRAMES);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap, &list), FRAMES);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &self), before);
    expect_equal(pages[1].bytes[PAGE_SIZE - 1], 0);
    set_xen_guest_handle(nowhere.extent_start, (xen_pfn_t *)0xfffffffc);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &nowhere), 0);
}

static void test_physmap(void)
{
    struct xen_add_to_physmap moved = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .idx = frame_of(&pages[0]), .gpfn = HOLE,
    };
    struct xen_remove_from_physmap removed = { .domid = DOMID_SELF, .gpfn = HOLE + 1 };
    struct xen_add_to_physmap_batch batch = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .size = 2,
    };
    xen_ulong_t from[] = { HOLE, HOLE + 7 };
    xen_pfn_t to[] = { HOLE + 1, HOLE + 8 };
    int errors[] = { 5, 5 };

    memset(&pages[0], 0x5a, PAGE_SIZE);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &moved), 0);
    expect_equal(*(volatile uint8_t *)(HOLE * PAGE_SIZE + 5), 0x5a);
    set_xen_guest_handle(batch.idxs, from);
    set_xen_guest_handle(batch.gpfns, to);
    set_xen_guest_handle(batch.errs, errors);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, &batch), 0);
    expect_equal(errors[0], 0);
    expect(errors[1] < 0);
    expect_equal(*(volatile uint8_t *)((HOLE + 1) * PAGE_SIZE + 5), 0x5a);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, &removed), 0);
}

static void test_params(void)
{
    struct xen_hvm_param param = { .domid = DOMID_SELF, .index = HVM_PARAM_STORE_PFN };
    struct xen_hvm_get_mem_type type = { .domid = DOMID_SELF, .pfn = frame_of(&pages[1]), .mem_type = 9 };

    expect_equal(hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, &param), 0);
    expect_equal(param.value, 0xfeffc);
    param.index = HVM_PARAM_VM86_TSS;
    param.value = 0x1234567890ull;
    expect_equal(hypercall(__HYPERVISOR_hvm_op, HVMOP_set_param, &param), 0);
    param.value = 0;
    expect_equal(hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, &param), 0);
    expect_equal(param.value >> 32, 0x12);
    param.index = HVM_PARAM_IDENT_PT;
    expect_equal(hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, &param), -EPERM);
    expect_equal(hypercall(__HYPERVISOR_hvm_op, HVMOP_get_mem_type, &type), 0);
    expect_equal(type.mem_type, HVMMEM_ram_rw);
}

static void test_errors(void)
{
    struct xen_machphys_mapping mapping = { 0 };

    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, &mapping), 0);
    expect(mapping.v_end > mapping.v_start);
    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_memory_map, (void *)(HOLE * PAGE_SIZE)), -EFAULT);
    expect_equal(hypercall(__HYPERVISOR_mmu_update, 0, NULL), -ENOSYS);
    expect_equal(hypercall(0xffffffff, 0, NULL), -ENOSYS);
    expect_equal(hypercall(__HYPERVISOR_physdev_op, 0, NULL), -ENOSYS);
}

void test_main(void)
{
    test_version();
    test_memory_map();
    test_reservation();
    test_physmap();
    test_params();
    test_errors();
}
