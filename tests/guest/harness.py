"""A running domain in the test's own process: started from an image, watched by its console and its log."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from xenolith.abi.sched import ShutdownReason
from xenolith.builder.image_file import ImageFile
from xenolith.hypervisor.pv.domain import PvDomain
from xenolith.toolstack.config import DomainConfig, EngineChoice
from xenolith.toolstack.machine import Assignment
from xenolith.toolstack.pv_machine import PvMachine
from xenolith.toolstack.pvh_machine import PvhMachine
from xenolith.toolstack.status_page import PAGE_BYTES, StatusPage

T = TypeVar("T")

DEADLINE = 30.0
"""Seconds that anything may take: far more than it does, for slow machines."""

PROMPT = 1.0
"""Seconds within which a domain obeys, whatever its guest does."""


class GuestDomain:
    """One PVH domain, which runs from ``with`` on; ``memory`` is in MiB. It implements MachineEvents."""

    new_machine: type[PvhMachine] | type[PvMachine] = PvhMachine

    def __init__(
        self,
        kernel: Path,
        *,
        memory: int = 32,
        maxmem: int | None = None,
        vcpus: int = 1,
        cmdline: str = "",
        domid: int = 1,
        engine: EngineChoice = EngineChoice.AUTO,
    ) -> None:
        page = os.memfd_create("status")
        os.ftruncate(page, PAGE_BYTES)
        self.status = StatusPage(page)
        os.close(page)
        self.output = bytearray()
        self.log_lines: list[str] = []
        self.slow_reader: Callable[[], None] | None = None
        """Called for each piece of output before it is taken, as a reader that takes its time."""
        self.on_xenstore: Callable[[], None] = lambda: None
        """Called when the guest has touched its xenstore ring; on the hypervisor thread."""
        self.domid = domid
        self._reason: ShutdownReason | None = None
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._outer_hook = threading.excepthook
        config = DomainConfig(
            name=kernel.name, memory=memory, maxmem=maxmem or memory, vcpus=vcpus, maxvcpus=vcpus,
            cmdline=cmdline, engine=engine,
        )  # fmt: skip
        with kernel.open("rb") as file:
            image = ImageFile(file.fileno(), kernel.name)
            self.machine = self.new_machine(Assignment(domid, config, image, None), self)

    def __enter__(self) -> Self:
        threading.excepthook = self._thread_failed
        self.machine.start()
        self.unpause()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asked = time.monotonic()
        try:
            self.machine.stop()
        finally:
            threading.excepthook = self._outer_hook
        if kind is None:
            if self._failure is not None:
                raise self._failure
            took = time.monotonic() - asked
            assert took < PROMPT, f"the machine took {took} s to stop"

    @property
    def text(self) -> str:
        """All that the guest has printed."""
        return self.output.decode(errors="replace")

    def wait_for(self, pattern: str, timeout: float = DEADLINE) -> re.Match[str]:
        """The first match in the guest's output; AssertionError if there is none in time."""
        found: list[re.Match[str]] = []

        def matches() -> bool:
            match = re.search(pattern, self.text, re.MULTILINE)
            if match is not None:
                found.append(match)
            return match is not None

        self._wait(matches, f"the output to match {pattern!r}", timeout)
        return found[0]

    def wait_shutdown(self, timeout: float = DEADLINE) -> ShutdownReason:
        """Why the domain shut down; AssertionError if it does not in time."""
        self._wait(lambda: self._reason is not None, "a shutdown", timeout)
        assert self._reason is not None
        return self._reason

    def wait_success(self, timeout: float = DEADLINE) -> None:
        """Wait for the end of a guest that tests: nothing it expected may have failed."""
        reason = self.wait_shutdown(timeout)
        assert "FAILURE" not in self.text, self.text
        assert self.text.endswith("Test result: SUCCESS\n"), self._describe()
        assert reason is ShutdownReason.poweroff

    def call(self, function: Callable[[], T], timeout: float = PROMPT) -> T:
        """The result of a function that the hypervisor thread runs; AssertionError if not in time."""
        answers: list[T] = []

        def answer() -> None:
            result = function()
            with self._changed:
                answers.append(result)
                self._changed.notify_all()

        self.machine.post(answer)
        self._wait(lambda: bool(answers), "the hypervisor thread", timeout)
        return answers[0]

    def pause(self) -> None:
        """Hold the vCPUs; return when they stand still."""
        self.call(self.machine.pause)

    def unpause(self) -> None:
        """Let the vCPUs run."""
        self.call(self.machine.unpause)

    def type(self, data: bytes) -> int:
        """Give the guest console input; how much of it fitted."""
        return self.call(lambda: self.machine.console_input(data))

    def console_output(self, data: bytes) -> None:
        """See MachineEvents."""
        if self.slow_reader is not None:
            self.slow_reader()
        with self._changed:
            self.output += data
            self._changed.notify_all()

    def console_input_wanted(self) -> None:
        """See MachineEvents."""

    def xenstore_activity(self) -> None:
        """See MachineEvents."""
        self.on_xenstore()

    def hold(self, reason: str) -> None:
        """See MachineEvents."""
        self.log(reason)

    def shut_down(self, reason: int) -> None:
        """See MachineEvents."""
        with self._changed:
            self._reason = ShutdownReason(reason)
            self._changed.notify_all()

    def log(self, line: str) -> None:
        """See MachineEvents."""
        with self._changed:
            self.log_lines.append(line)
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            over = self._changed.wait_for(lambda: condition() or self._failure is not None, timeout)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise AssertionError(f"the hypervisor failed; {self._describe()}") from failure
            assert over, f"waited {timeout} s for {what}; {self._describe()}"

    def _describe(self) -> str:
        return f"log: {self.log_lines}\noutput:\n{self.text}"

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """A thread of the domain ended by an exception: nothing will come any more."""
        with self._changed:
            self._failure = failure.exc_value
            self._changed.notify_all()


class PvGuestDomain(GuestDomain):
    """One PV domain."""

    new_machine = PvMachine
    machine: PvMachine

    @property
    def complaints(self) -> list[str]:
        """What the log says of the guest, less what it runs on."""
        return [line for line in self.log_lines if not line.startswith("runs on ")]

    @property
    def domain(self) -> PvDomain:
        """The hypervisor's side of it, for its own thread to look at."""
        return self.machine._domain
