"""How long a vCPU has been in each state, for the guest's ``steal`` and for ``xl`` (public/vcpu.h)."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.layout import Layout
from xenolith.abi.vcpu import VCPU_RUNSTATE_INFO, Runstate, VcpuRunstateInfo


class RunstateAccount:
    """Times in ns of system time; a registered area is rewritten at every change."""

    def __init__(self, now: int) -> None:
        self.state = Runstate.offline
        self.observer: Callable[[Runstate, int], None] | None = None
        """Told each new state, and how long the vCPU has run by then."""
        self._entry_time = now
        self._times = [0, 0, 0, 0]
        self._area: list[memoryview] = []
        self._layout = VCPU_RUNSTATE_INFO

    def change(self, state: Runstate, now: int) -> None:
        """Enter a state."""
        self._times[self.state] += now - self._entry_time
        self._entry_time = now
        self.state = state
        self.publish()
        if self.observer is not None:
            self.observer(state, self._times[Runstate.running])

    def time_in_state(self, now: int) -> int:
        """For how long the vCPU has been in its state."""
        return now - self._entry_time

    def account_stolen(self, nanoseconds: int) -> None:
        """Turn time counted as running into time runnable: the host ran something else."""
        stolen = min(nanoseconds, self._times[Runstate.running])
        self._times[Runstate.running] -= stolen
        self._times[Runstate.runnable] += stolen

    def running_time(self, now: int) -> int:
        """How long the vCPU has run."""
        extra = now - self._entry_time if self.state == Runstate.running else 0
        return self._times[Runstate.running] + extra

    def info(self, now: int) -> VcpuRunstateInfo:
        """The runstates, the time in the present one counted up to ``now``."""
        times = self._times.copy()
        times[self.state] += now - self._entry_time
        return VcpuRunstateInfo(self.state, self._entry_time, tuple(times))

    def register(
        self, area: list[memoryview], layout: Layout[VcpuRunstateInfo] = VCPU_RUNSTATE_INFO
    ) -> None:
        """Keep the guest's area, given as the pieces of frames that it lies in, up to date."""
        self._area = area
        self._layout = layout
        self.publish()

    def publish(self) -> None:
        """Write the registered area. The guest stands still, so no update flag is needed."""
        if not self._area:
            return
        info = self._layout.pack(self.info(self._entry_time))
        for piece in self._area:
            piece[:] = info[: len(piece)]
            info = info[len(piece) :]
