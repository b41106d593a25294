"""What the C code asks of the hypervisor: the traps that are not the guest's own affair, one call each."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from xenolith.engine.hvm import Vector
from xenolith.engine.pv import TrapHandler
from xenolith.machine.address import GuestVirt

CRASHES = {
    1: "its kernel's stack at {:#x} cannot be written",
    2: "a trap at {:#x} has no handler",
    3: "its kernel's frame for iret at {:#x} cannot be read",
    4: "its kernel returns to user mode at {:#x} without a user page table",
    5: "ring 0 has faulted, which has no business with {:#x}",
}
"""Why a domain crashes, by the numbers of trap_context.h."""


class TrapCalls:
    """Goes to the handler of the vCPU that runs. What that raises ends the run, and waits until it has ended.

    As a context manager it keeps what is raised within: nothing may be raised through frames of C.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._failure: BaseException | None = None
        self._handler: TrapHandler | None = None

    @property
    def handler(self) -> TrapHandler:
        """That of the vCPU that runs."""
        assert self._handler is not None
        return self._handler

    @handler.setter
    def handler(self, handler: TrapHandler) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        failure: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if failure is not None:
            if self._failure is None:
                self._failure = failure
            self._stop()
        return True

    @property
    def has_failed(self) -> bool:
        """Whether there is something to be raised."""
        return self._failure is not None

    def raise_failure(self) -> None:
        """Raise what was kept, once."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def on_hypercall(self) -> None:
        """SYSCALL out of the guest's kernel, RIP behind it."""
        with self:
            self.handler.hypercall()

    def on_fault(self, vector: int, error_code: int, address: int) -> int:
        """A fault that may be the hypervisor's business; nonzero if it is done with."""
        with self:
            match vector:
                case Vector.PF:
                    return self.handler.write_protected(GuestVirt(address))
                case Vector.GP:
                    return self.handler.general_protection(error_code)
                case Vector.NP:
                    return self.handler.empty_descriptor(error_code)
                case _:
                    return self.handler.invalid_opcode()
        return 1

    def on_crash(self, why: int, detail: int) -> None:
        """The guest cannot go on, for one of CRASHES."""
        with self:
            self.handler.crash(CRASHES[why].format(detail))
        self._stop()
