"""The host's CPUs and NUMA nodes in the form of `xl info -n` (tools/xl/xl_info.c).

The host is Domain-0 as well as the machine, so its own sysfs(5) says what Xen would.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_SYSTEM = "/sys/devices/system"

_FREE = ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")
"""What a node has free, or would give at once: free_memory is MemAvailable, which nodes do not tell."""


class Cpu(NamedTuple):
    """Where a host CPU is."""

    number: int
    core: int
    socket: int
    node: int


class Node(NamedTuple):
    """A NUMA node; memory in KiB."""

    number: int
    size: int
    free: int
    distances: tuple[int, ...]


def lines(system: str = _SYSTEM) -> list[str]:
    """The tables of CPUs, devices and nodes that `xl info -n` adds."""
    table = ["cpu_topology           :", "cpu:    core    socket     node"]
    table += [
        f"{cpu.number:3}:    {cpu.core:4}     {cpu.socket:4}     {cpu.node:4}"
        for cpu in _cpus(system)
    ]
    table += ["device topology        :", "device           node"]
    table += ["No device topology data available"]
    table += ["numa_info              :", "node:    memsize    memfree    distances"]
    table += [
        f"{node.number:4}:    {node.size >> 10:6}     {node.free >> 10:6}      "
        + ",".join(map(str, node.distances))
        for node in _nodes(system)
    ]
    return table


def _cpus(system: str) -> list[Cpu]:
    cpus = []
    for number in _numbered(f"{system}/cpu", "cpu"):
        where = f"{system}/cpu/cpu{number}"
        node = next(iter(_numbered(where, "node")), 0)
        core = _number(f"{where}/topology/core_id")
        cpus.append(Cpu(number, core, _number(f"{where}/topology/physical_package_id"), node))
    return cpus


def _nodes(system: str) -> list[Node]:
    nodes = []
    for number in _numbered(f"{system}/node", "node"):
        where = f"{system}/node/node{number}"
        found = re.findall(r"([\w()]+):\s+(\d+) kB", _text(f"{where}/meminfo"))
        meminfo = {name: int(kib) for name, kib in found}
        distances = tuple(map(int, _text(f"{where}/distance").split()))
        free = sum(meminfo.get(name, 0) for name in _FREE)
        nodes.append(Node(number, meminfo.get("MemTotal", 0), free, distances))
    return nodes


def _numbered(directory: str, prefix: str) -> list[int]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = (re.fullmatch(rf"{prefix}(\d+)", name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def _number(path: str) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0
