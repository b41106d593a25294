"""The sections: one module for each kind of measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.contest import Contest
from bench.figure import Figure
from bench.sections import (
    boot,
    create,
    crowd,
    disk,
    guest_programs,
    hypercall,
    idle,
    kvm,
    network,
    pv,
    storage,
    wide,
    xen,
    xenstored,
    xl_list,
)

Section = Callable[[Contest], Iterator[Figure]]

SECTIONS: dict[str, Section] = {
    "boot": boot.measure,
    "guest": guest_programs.measure,
    "hypercall": hypercall.measure,
    "pv": pv.measure,
    "kvm": kvm.measure,
    "list": xl_list.measure,
    "create": create.measure,
    "idle": idle.measure,
    "crowd": crowd.measure,
    "wide": wide.measure,
    "disk": disk.measure,
    "xenstore": xenstored.measure,
    "storage": storage.measure,
    "network": network.measure,
}
"""By the name that --only takes, in the order of the table."""

OPTIONAL: dict[str, Section] = {"xen": xen.measure}
"""Sections that take many minutes: measured only if --only names them."""
