"""Logical volumes of LVM2, as far as they lie on one disk."""
