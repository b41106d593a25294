"""What the PV engine has to know of how this host's KVM runs ring 3."""

from __future__ import annotations

from typing import NamedTuple


class Ring3(NamedTuple):
    """What can be relied on."""

    follows_tables: bool
    """Guests run on their page tables themselves: the hypervisor's stores there count after a flush of the TLB."""
    moves_rip: bool
    """OUT has RIP behind itself when it exits."""
    answers_cpuid: bool
    """CPUID returns what KVM was told, and not what the host's processor has."""
