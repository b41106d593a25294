"""Threads that wait for the host's disks so that the hypervisor thread need not.

They are started when they are first needed, and sleep while there is nothing to do.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

Job = Callable[[], Callable[[], None]]
"""Works, in a worker; what it returns is called in the hypervisor thread. It raises nothing."""


class Workers:
    """At most ``count`` threads; ``post`` runs a call in the hypervisor thread, from any thread."""

    def __init__(self, name: str, post: Callable[[Callable[[], None]], None], count: int) -> None:
        self._name = name
        self._post = post
        self._count = count
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._threads: list[threading.Thread] = []
        self._outstanding = 0
        self._posted = False

    def submit(self, job: Job) -> None:
        """Have a job done; hypervisor thread."""
        self._outstanding += 1
        if self._outstanding > len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def close(self) -> None:
        """Return when all jobs are done and the threads have ended."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._done.append(job())
            # Of two threads that both find it unset, one posts in vain.
            if not self._posted:
                self._posted = True
                self._post(self._deliver)

    def _deliver(self) -> None:
        """Tell of all that has been done meanwhile, in one go."""
        self._posted = False
        while self._done:
            self._outstanding -= 1
            self._done.popleft()()
