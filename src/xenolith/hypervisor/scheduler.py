"""Runs the vCPUs of one domain in turn on one thread, the domain's hypervisor thread.

Everything that touches hypervisor state happens on that thread: exits in place, timers and posted calls
between them. A second thread, the ticker, sleeps on an alarm and only ever kicks the guest.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from xenolith.abi.vcpu import Runstate
from xenolith.engine.hvm import EngineError
from xenolith.engine.vcpu import Engine, EngineVcpu
from xenolith.hypervisor.deferral import DeferredCalls
from xenolith.hypervisor.idle_watch import IdleWatch
from xenolith.hypervisor.run_queue import SLICE_NS, WAKE_SLICE_NS, RunQueue
from xenolith.hypervisor.runstate import RunstateAccount
from xenolith.hypervisor.system_time import SystemTime
from xenolith.hypervisor.throttle import Throttle
from xenolith.hypervisor.timers import TimerQueue
from xenolith.machine.alarm import Alarm
from xenolith.machine.doze import Doze

_SWITCH_INTERVAL_S = 0.0003

_KICK_AGAIN_S = 0.0002


class SchedulableVcpu(Protocol):
    """What the scheduler knows of a vCPU."""

    runstate: RunstateAccount

    @property
    def engine_vcpu(self) -> EngineVcpu:
        """What runs it."""


class Scheduler:
    """Round robin with a boost for the woken; sleeps when no vCPU is runnable.

    ``failed`` hears why the engine cannot go on with a guest.
    """

    def __init__(self, engine: Engine, clock: SystemTime, failed: Callable[[str], None]) -> None:
        self._engine = engine
        self._clock = clock
        self._failed = failed
        self.timers = TimerQueue(self._on_earlier_deadline)
        self.current: SchedulableVcpu | None = None
        """The vCPU whose guest code is running or whose exit is being handled."""
        self._runnable: RunQueue[SchedulableVcpu] = RunQueue(SLICE_NS)
        self._wake_slice = WAKE_SLICE_NS
        self._deferred = DeferredCalls(self.timers, clock.now)
        self._posted: deque[Callable[[], None]] = deque()
        self._pause_count = 0
        self._halted = False
        self._stopped = False
        self._alarm = Alarm()
        self._attention = False
        self.doze = Doze()
        """Where the hypervisor thread sleeps."""
        self._slice_end: int | None = None
        self._throttle: Throttle | None = None
        self._parked_until = 0
        self._idle = IdleWatch(engine.forget_code)

    @property
    def wants_exit(self) -> bool:
        """Whether a long exit should end soon: a post, a timer or another vCPU waits for it."""
        return self._attention

    def attend(self) -> None:
        """From a handler that ends: leave the guest if a post or a timer waits.

        The ticker would have that done, but it needs the interpreter for it, and does not get it while a
        guest makes one hypercall after another: the interpreter is free for a microsecond at a time.
        """
        if self._attention and self.current is not None:
            self._engine.stop()

    def wake(self, vcpu: SchedulableVcpu) -> None:
        """Make a blocked vCPU runnable, ahead of those that have had their turn."""
        if vcpu.runstate.state != Runstate.blocked:
            return
        now = self._clock.now()
        slept = vcpu.runstate.time_in_state(now)
        vcpu.runstate.change(Runstate.runnable, now)
        self._runnable.add_woken(vcpu, slept)
        if self.current is not None:
            self._end_slice_by(now + self._wake_slice)

    def bring_up(self, vcpu: SchedulableVcpu) -> None:
        """Make an offline vCPU runnable."""
        if vcpu.runstate.state == Runstate.offline:
            now = self._clock.now()
            vcpu.runstate.change(Runstate.runnable, now)
            self._runnable.add(vcpu)
            if self.current is not None:
                self._end_slice_by(now + self._wake_slice)

    def block(self, vcpu: SchedulableVcpu) -> None:
        """Take the current vCPU off the CPU until it is woken."""
        self._leave(vcpu, Runstate.blocked)

    def take_down(self, vcpu: SchedulableVcpu) -> None:
        """Take a vCPU offline."""
        self._leave(vcpu, Runstate.offline)

    def yield_now(self) -> None:
        """Let another runnable vCPU run before the current one goes on."""
        if self._runnable and self.current is not None:
            self._runnable.end_turn(self.current)
            self._engine.stop()

    def pause(self) -> None:
        """Hold the whole domain; counted."""
        self._pause_count += 1
        if self.current is not None:
            self._engine.stop()

    def unpause(self) -> None:
        """Undo one pause."""
        self._pause_count = max(0, self._pause_count - 1)

    def halt(self) -> None:
        """Run no vCPU ever again; posted calls are still made."""
        self._halted = True
        if self.current is not None:
            self._engine.stop()

    def set_slices(self, slice_ns: int, wake_slice_ns: int) -> None:
        """Change how long a turn lasts, and how much of it is left of it when another vCPU is woken."""
        self._runnable.slice_ns = slice_ns
        self._wake_slice = wake_slice_ns

    def throttle(self, throttle: Throttle | None) -> None:
        """Ask this from now on when vCPUs may run; None: always."""
        self._throttle = throttle
        self._parked_until = 0
        if self.current is not None:
            self._engine.stop()

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the hypervisor thread soon; from any thread."""
        self._posted.append(call)
        # Whoever arms the alarm looks at this flag afterwards: see _arm().
        self._attention = True
        self.doze.wake()
        # Without a guest to kick, the ticker would only be in the woken thread's way; one that is just
        # about to be entered is stopped by the flag.
        if self.current is not None:
            self._alarm.ring_now()

    def defer(self, call: Callable[[], None]) -> None:
        """Run ``call`` when a vCPU is about to sleep, or half a millisecond later."""
        self._deferred.add(call)

    def make_deferred(self) -> bool:
        """The current vCPU is about to sleep: make the calls that wait for that; whether there were any."""
        if not self._deferred.make():
            return False
        # The alarm is still set for them.
        self._arm(self._clock.now())
        return True

    def run(self) -> None:
        """Serve the domain until :meth:`stop`; the body of the hypervisor thread."""
        # Whoever waits for the interpreter asks for it only after it was not free for so long. A guest's
        # hypercalls free it more often than each 5 ms, the default, for moments too short to take it.
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
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
                if self._runnable and not self._held and not self._is_parked():
                    self._run_next()
                elif not self._deferred.make():
                    self._sleep()
        finally:
            self._stopped = True
            self._alarm.ring_now()
            ticker.join()
            self._alarm.close()

    def stop(self) -> None:
        """Make :meth:`run` return; on the hypervisor thread."""
        self._stopped = True
        if self.current is not None:
            self._engine.stop()

    @property
    def _held(self) -> bool:
        return self._halted or self._pause_count > 0

    def _is_parked(self) -> bool:
        if self._throttle is None:
            return False
        now = self._clock.now()
        if now >= self._parked_until:
            self._parked_until = now + self._throttle.park(now)
        return now < self._parked_until

    def _run_next(self) -> None:
        vcpu = self._runnable.take()
        now = self._clock.now()
        vcpu.runstate.change(Runstate.running, now)
        self._slice_end = now + self._runnable.time_left(vcpu) if self._runnable else None
        if self._throttle is not None:
            asked_again = now + self._throttle.stretch()
            self._slice_end = min(self._slice_end or asked_again, asked_again)
        self.current = vcpu
        self._arm(now)
        cpu_before = time.thread_time_ns()
        try:
            if not (self._attention or self._stopped):
                vcpu.engine_vcpu.run()
        except EngineError as failure:
            self._failed(str(failure))
        finally:
            self.current = None
        after = self._clock.now()
        self._runnable.charge(vcpu, after - now)
        self._idle.charge(after - now)
        stolen = after - now - (time.thread_time_ns() - cpu_before)
        if vcpu.runstate.state == Runstate.running:
            vcpu.runstate.change(Runstate.runnable, after)
            self._runnable.add_interrupted(vcpu)
        if stolen > 0:
            vcpu.runstate.account_stolen(stolen)

    def _leave(self, vcpu: SchedulableVcpu, state: Runstate) -> None:
        # The current vCPU is queued, too, if it was blocked and woken within one exit.
        self._runnable.discard(vcpu)
        if vcpu is self.current:
            self._engine.stop()
        vcpu.runstate.change(state, self._clock.now())

    def _sleep(self) -> None:
        """Wait for a post or the next timer."""
        self._idle.going_to_sleep(self._clock.now())
        deadline = None if self._held else self.timers.next_deadline()
        if self._throttle is not None and self._runnable and not self._held:
            deadline = min(deadline or self._parked_until, self._parked_until)
        timeout = None if deadline is None else (deadline - self._clock.now()) / 1e9
        if timeout is None or timeout > 0:
            self.doze.sleep(timeout, lambda: self._attention)

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
            if self._attention:
                # The ring of a post may just have been overwritten.
                self._alarm.ring_now()

    def _tick(self) -> None:
        """Kick the guest whenever the alarm rings, until the hypervisor thread has noticed."""
        while not self._stopped:
            self._alarm.wait()
            self._attention = True
            while self._attention and not self._stopped:
                # A kick that comes just before the guest is entered is lost, hence the loop.
                self.doze.wake()
                self._engine.kick()
                time.sleep(_KICK_AGAIN_S)
