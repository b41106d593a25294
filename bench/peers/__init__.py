"""Peers beside QEMU: what takes minutes, and is measured when it is asked for."""
