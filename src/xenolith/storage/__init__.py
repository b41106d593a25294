"""Disk image formats: raw files, VHD, NBD. Knows nothing of Xen."""
