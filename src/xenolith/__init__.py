"""Xenolith: the Xen hypervisor as an ordinary Linux program."""

__version__ = "0.1.0"
