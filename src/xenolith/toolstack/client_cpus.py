"""The requests of client.Toolstack about weights, caps and CPU pools.

CPUs are lists in xl's notation, such as ``0-3,^1``; pools are given by name or number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xenolith.toolstack.config_source import ConfigSource
from xenolith.toolstack.records import CpuPoolInfo, CreditInfo


class CpuRequests:
    """Every method raises ToolstackError when the daemon refuses or cannot be reached."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def credits(self) -> list[CreditInfo]:
        """Weight and cap of every domain by rising domid, Domain-0 first."""
        return [CreditInfo(*row) for row in self._call("credits")]

    def set_credit(self, domid: int, weight: int | None, cap: int | None) -> None:
        """Set a domain's weight or cap (in percent of one CPU); None: as before."""
        self._call("set_credit", domid=domid, weight=weight, cap=cap)

    def cpupools(self) -> list[CpuPoolInfo]:
        """The CPU pools by number."""
        return [CpuPoolInfo(*row) for row in self._call("cpupools")]

    def cpupool(self, name_or_id: str) -> CpuPoolInfo:
        """One CPU pool, given by name or by number."""
        return CpuPoolInfo(*self._call("cpupool", pool=name_or_id))

    def load_cpupool(self, source: ConfigSource) -> CpuPoolInfo:
        """The CPU pool that :meth:`create_cpupool` would make."""
        return CpuPoolInfo(*self._call("load_cpupool", **source._asdict()))

    def create_cpupool(self, source: ConfigSource) -> CpuPoolInfo:
        """Make the CPU pool that a configuration describes."""
        return CpuPoolInfo(*self._call("create_cpupool", **source._asdict()))

    def destroy_cpupool(self, pool: str) -> None:
        """Remove an empty CPU pool; its CPUs are free then."""
        self._call("destroy_cpupool", pool=pool)

    def rename_cpupool(self, pool: str, name: str) -> None:
        """Give a CPU pool another name."""
        self._call("rename_cpupool", pool=pool, name=name)

    def add_cpus_to_cpupool(self, pool: str, cpus: str) -> None:
        """Put free CPUs, in xl's notation, into a CPU pool."""
        self._call("add_cpus_to_cpupool", pool=pool, cpus=cpus)

    def remove_cpus_from_cpupool(self, pool: str, cpus: str) -> None:
        """Make CPUs of a CPU pool, in xl's notation, free."""
        self._call("remove_cpus_from_cpupool", pool=pool, cpus=cpus)

    def set_cpupool_parameters(
        self, pool: str, tslice: int | None, ratelimit: int | None, migration_delay: int | None
    ) -> None:
        """Set the time slice (ms), the rate limit and the migration delay (us); None: as before."""
        self._call(
            "set_cpupool_parameters",
            pool=pool,
            tslice=tslice,
            ratelimit=ratelimit,
            migration_delay=migration_delay,
        )

    def migrate_to_cpupool(self, domid: int, pool: str) -> None:
        """Move a domain into another CPU pool."""
        self._call("migrate_to_cpupool", domid=domid, pool=pool)

    def split_cpupools_by_node(self) -> None:
        """Make a CPU pool of each NUMA node."""
        self._call("split_cpupools_by_node")
