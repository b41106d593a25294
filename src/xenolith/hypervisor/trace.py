"""What `xl strace` shows: each hypercall in one line, its command and argument struct decoded."""

from __future__ import annotations

from collections.abc import Callable


class HypercallTrace:
    """Describes hypercalls to ``sink``; implements hypervisor.domain.Tracer."""

    def __init__(self, sink: Callable[[str], None]) -> None:
        self._sink = sink

    def hypercall(
        self,
        vcpu_id: int,
        name: str,
        arguments: tuple[int, ...],
        result: int,
        started: int,
        ended: int,
    ) -> None:
        """See Tracer."""
        shown = ", ".join(f"{argument:#x}" for argument in arguments)
        took = (ended - started) / 1000
        self._sink(f"{started / 1e9:.6f} v{vcpu_id} {name}({shown}) = {result} <{took:.1f} us>")
