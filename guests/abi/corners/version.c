/* xen_version: every command, and the features that a PVH domain has. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/features.h>
#include <xen/version.h>

#define FEATURE(name) (1u << XENFEAT_##name)

static long xen_version(int command, void *argument)
{
    return hypercall(__HYPERVISOR_xen_version, command, argument);
}

static void test_features(void)
{
    struct xen_feature_info info = { .submap_idx = 0 };
    uint32_t wanted = FEATURE(auto_translated_physmap) | FEATURE(hvm_callback_vector) | FEATURE(hvm_safe_pvclock);
    uint32_t unwanted = FEATURE(dom0) | FEATURE(hvm_pirqs) | FEATURE(mmu_pt_update_preserve_ad);

    expect_equal(xen_version(XENVER_get_features, &info), 0);
    expect_equal(info.submap & (wanted | unwanted), wanted);
    info = (struct xen_feature_info){ .submap_idx = 1 };
    expect_equal(xen_version(XENVER_get_features, &info), 0);
    expect_equal(info.submap, 0);
}

/* a string that fills what was there before with a terminated text */
#define expect_text(command, type) do { \
        type text_; \
        memset(text_, 0xff, sizeof(text_)); \
        expect_equal(xen_version(command, text_), 0); \
        expect(memcmp(text_ + sizeof(text_) - 1, "", 1) == 0 && strlen(text_) > 0); \
    } while (0)

void test_main(void)
{
    xen_compile_info_t compile_info;
    xen_platform_parameters_t platform;
    xen_domain_handle_t handle;
    xen_commandline_t command_line;
    struct xen_build_id build_id = { .len = 0 };

    long version = xen_version(XENVER_version, NULL);
    expect_equal(version >> 16, 4);
    expect((version & 0xffff) >= 4);
    expect_text(XENVER_extraversion, xen_extraversion_t);
    expect_text(XENVER_capabilities, xen_capabilities_info_t);
    expect_text(XENVER_changeset, xen_changeset_info_t);
    expect_equal(xen_version(XENVER_compile_info, &compile_info), 0);
    expect(strlen(compile_info.compiler) < sizeof(compile_info.compiler));
    expect_equal(xen_version(XENVER_platform_parameters, &platform), 0);
    expect_equal(xen_version(XENVER_pagesize, NULL), 4096);
    expect_equal(xen_version(XENVER_guest_handle, handle), 0);
    expect_equal(xen_version(XENVER_commandline, command_line), 0);
    expect_equal(xen_version(XENVER_build_id, &build_id), -XEN_ENODATA);
    test_features();

    expect_equal(xen_version(1000, NULL), -XEN_ENOSYS);
    expect_equal(xen_version(XENVER_extraversion, (void *)(1ul << 63)), -XEN_EFAULT);
    printk("handle %02x%02x%02x%02x\n", handle[0], handle[1], handle[2], handle[3]);
}
