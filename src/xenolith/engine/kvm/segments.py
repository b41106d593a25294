"""Segment registers: from the VMCB's format, in which the hypervisor has them, to KVM's."""

from __future__ import annotations

from xenolith.engine.hvm import Segment
from xenolith.engine.kvm.structures import registers


def load_segment(target: registers.Segment, segment: Segment) -> None:
    """Fill in a segment register."""
    attributes = segment.attributes
    target.base, target.limit, target.selector = segment.base, segment.limit, segment.selector
    target.type, target.s, target.dpl = attributes & 15, attributes >> 4 & 1, attributes >> 5 & 3
    target.present, target.avl = attributes >> 7 & 1, attributes >> 8 & 1
    target.l, target.db, target.g = (attributes >> bit & 1 for bit in (9, 10, 11))
