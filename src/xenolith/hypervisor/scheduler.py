"""Runs the vCPUs of one domain in turn on one thread, the domain's hypervisor thread.

Everything that touches hypervisor state happens on that thread: exits in place, timers and posted calls
between them. A second thread, the ticker, sleeps on an alarm and only ever kicks the guest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from xenolith.abi.vcpu import Runstate
from xenolith.engine.hvm import HvmEngine, HvmVcpu
from xenolith.hypervisor.runstate import RunstateAccount
from xenolith.hypervisor.system_time import SystemTime
from xenolith.hypervisor.timers import TimerQueue
from xenolith.machine.alarm import Alarm

_SLICE_NS = 5_000_000
_WAKE_SLICE_NS = 500_000
"""How much longer a vCPU may run once another has been woken."""

_KICK_AGAIN_S = 0.0002


class SchedulableVcpu(Protocol):
    """What the scheduler knows of a vCPU."""

    runstate: RunstateAccount
    engine_vcpu: HvmVcpu


class Scheduler:
    """Round robin with a boost for the woken; sleeps when no vCPU is runnable."""

    def __init__(self, engine: HvmEngine, clock: SystemTime) -> None:
        self._engine = engine
        self._clock = clock
        self.timers = TimerQueue(self._on_earlier_deadline)
        self.current: SchedulableVcpu | None = None
        """The vCPU whose guest code is running or whose exit is being handled."""
        self._runnable: deque[SchedulableVcpu] = deque()
        self._posted: deque[Callable[[], None]] = deque()
        self._pause_count = 0
        self._stopped = False
        self._alarm = Alarm()
        self._attention = False
        self._wakeup = threading.Event()
        self._slice_end: int | None = None

    @property
    def contended(self) -> bool:
        """Whether a vCPU other than the current one could run."""
        return bool(self._runnable)

    @property
    def paused(self) -> bool:
        """Whether the domain is held."""
        return self._pause_count > 0

    def wake(self, vcpu: SchedulableVcpu) -> None:
        """Make a blocked vCPU runnable, ahead of those that have had their turn."""
        if vcpu.runstate.state != Runstate.blocked:
            return
        now = self._clock.now()
        vcpu.runstate.change(Runstate.runnable, now)
        self._runnable.appendleft(vcpu)
        if self.current is not None:
            self._end_slice_by(now + _WAKE_SLICE_NS)

    def bring_up(self, vcpu: SchedulableVcpu) -> None:
        """Make an offline vCPU runnable."""
        if vcpu.runstate.state == Runstate.offline:
            now = self._clock.now()
            vcpu.runstate.change(Runstate.runnable, now)
            self._runnable.append(vcpu)
            if self.current is not None:
                self._end_slice_by(now + _WAKE_SLICE_NS)

    def block(self, vcpu: SchedulableVcpu) -> None:
        """Take the current vCPU off the CPU until it is woken."""
        self._leave(vcpu, Runstate.blocked)

    def take_down(self, vcpu: SchedulableVcpu) -> None:
        """Take a vCPU offline."""
        self._leave(vcpu, Runstate.offline)

    def yield_now(self) -> None:
        """Let another runnable vCPU run before the current one goes on."""
        if self._runnable:
            self._slice_end = 0
            self._engine.stop()

    def pause(self) -> None:
        """Hold the whole domain; counted."""
        self._pause_count += 1
        if self.current is not None:
            self._engine.stop()

    def unpause(self) -> None:
        """Undo one pause."""
        self._pause_count = max(0, self._pause_count - 1)

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the hypervisor thread soon; from any thread."""
        self._posted.append(call)
        self._attention = True
        self._wakeup.set()
        self._alarm.ring_after(0)

    def run(self) -> None:
        """Serve the domain until :meth:`stop`; the body of the hypervisor thread."""
        ticker = threading.Thread(target=self._tick, name="ticker", daemon=True)
        ticker.start()
        try:
            while not self._stopped:
                self._attention = False
                while self._posted:
                    self._posted.popleft()()
                self.timers.expire(self._clock.now())
                if self._stopped:
                    break
                if self._runnable and not self._pause_count:
                    self._run_next()
                else:
                    self._sleep()
        finally:
            self._stopped = True
            self._alarm.ring_after(0)
            ticker.join()
            self._alarm.close()

    def stop(self) -> None:
        """Make :meth:`run` return; on the hypervisor thread."""
        self._stopped = True
        if self.current is not None:
            self._engine.stop()

    def _run_next(self) -> None:
        vcpu = self._runnable.popleft()
        now = self._clock.now()
        vcpu.runstate.change(Runstate.running, now)
        self._slice_end = now + _SLICE_NS if self._runnable else None
        self.current = vcpu
        self._arm(now)
        cpu_before = time.thread_time_ns()
        try:
            if not (self._attention or self._stopped):
                vcpu.engine_vcpu.run()
        finally:
            self.current = None
        after = self._clock.now()
        stolen = after - now - (time.thread_time_ns() - cpu_before)
        if vcpu.runstate.state == Runstate.running:
            vcpu.runstate.change(Runstate.runnable, after)
            if self._slice_end is not None and after >= self._slice_end:
                self._runnable.append(vcpu)
            else:
                self._runnable.appendleft(vcpu)
        if stolen > 0:
            vcpu.runstate.account_stolen(stolen)

    def _leave(self, vcpu: SchedulableVcpu, state: Runstate) -> None:
        if vcpu is self.current:
            self._engine.stop()
        elif vcpu in self._runnable:
            self._runnable.remove(vcpu)
        vcpu.runstate.change(state, self._clock.now())

    def _sleep(self) -> None:
        """Wait for a post or the next timer."""
        deadline = None if self._pause_count else self.timers.next_deadline()
        timeout = None if deadline is None else (deadline - self._clock.now()) / 1e9
        if (timeout is None or timeout > 0) and not self._posted:
            self._wakeup.wait(timeout)
        self._wakeup.clear()

    def _on_earlier_deadline(self, _deadline: int) -> None:
        if self.current is not None:
            self._arm(self._clock.now())

    def _end_slice_by(self, when: int) -> None:
        if self._slice_end is None or when < self._slice_end:
            self._slice_end = when
            self._arm(self._clock.now())

    def _arm(self, now: int) -> None:
        """Have the ticker kick the guest at the next timer or the end of the slice."""
        deadline = self.timers.next_deadline()
        if deadline is None or (self._slice_end is not None and self._slice_end < deadline):
            deadline = self._slice_end
        if deadline is not None:
            self._alarm.ring_after(deadline - now)

    def _tick(self) -> None:
        """Kick the guest whenever the alarm rings, until the hypervisor thread has noticed."""
        while not self._stopped:
            self._alarm.wait()
            self._attention = True
            while self._attention and not self._stopped:
                # A kick that comes just before the guest is entered is lost, hence the loop.
                self._wakeup.set()
                self._engine.kick()
                time.sleep(_KICK_AGAIN_S)
