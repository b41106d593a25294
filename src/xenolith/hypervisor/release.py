"""Which Xen this hypervisor presents itself as."""

from __future__ import annotations

XEN_MAJOR = 4
XEN_MINOR = 17
XEN_EXTRA_VERSION = ".0-xenolith"
XEN_CAPABILITIES = "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
