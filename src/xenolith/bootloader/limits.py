"""What a process that reads a guest's disk may use, however the disk was made up."""

from __future__ import annotations

import resource

CPU_SECONDS = 20
"""Of CPU time; a sound disk takes less than one."""
MEMORY = 1 << 30
"""Bytes of address space."""

LARGEST_KERNEL = 128 << 20
"""Bytes; Debian's largest has 12 MiB packed and 63 MiB unpacked."""
LARGEST_RAMDISK = 512 << 20
"""Bytes of all ramdisks of an entry together."""
LONGEST_COMMAND_LINE = 2047
"""Linux's COMMAND_LINE_SIZE on x86, without the byte that ends it."""


def set_limits() -> None:
    """Limit this process for good: SIGXCPU ends it, OSError and MemoryError are raised in it."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_RAMDISK, LARGEST_RAMDISK))
