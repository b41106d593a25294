"""The zygote: a warm interpreter that has all a domain process needs, and forks one per request.

It runs one thread and serves one daemon, over the socket it was started with; when the daemon
goes away it ends, and its children go on. It is their parent and reaps them.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable

from xenolith.engine.choice import report as engine_report
from xenolith.machine.event_loop import READ, EventLoop
from xenolith.toolstack import domain_process, last_words, rpc
from xenolith.toolstack.domain_process import Handover
from xenolith.toolstack.machine import MachineFactory
from xenolith.toolstack.rpc_loop import LoopConnection, Request

_PR_SET_NAME = 15


def main() -> None:
    """Serve the daemon at the descriptor ``argv[1]`` with the machine factory ``argv[2]``.

    The factory is given as ``module:name``.
    """
    sock = socket.socket(fileno=int(sys.argv[1]))
    _set_process_name("xen-zygote")
    # A terminal's Ctrl-C is for the daemon, if for anybody.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, name = sys.argv[2].split(":")
    build: MachineFactory = getattr(importlib.import_module(module), name)
    # Once jailed, a process cannot read the time zone.
    time.tzset()
    # What is there now is never garbage, and stays shared with the children.
    gc.collect()
    gc.freeze()
    handover = Zygote(sock).serve()
    if handover is not None:
        try:
            domain_process.main(handover, build)
        except BaseException:
            # A hypervisor thread that nobody could stop any more would keep the process alive.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    # Without the interpreter's tidying up, which would only cost time.
    os._exit(0)


class _Forked(BaseException):
    """Unwinds the zygote's stack in a child."""

    def __init__(self, handover: Handover) -> None:
        super().__init__()
        self.handover = handover


class Zygote:
    """Forks on request, and tells the daemon how each child ended."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = EventLoop()
        self._daemon = LoopConnection(self._loop, sock, self._serve, self._loop.stop)

    def serve(self) -> Handover | None:
        """Serve until the daemon goes away; return early, in each child, with its handover."""
        self._daemon.notify("engines", {"report": engine_report()})
        try:
            self._loop.run()
        except _Forked as child:
            return child.handover
        return None

    def _serve(self, request: Request) -> None:
        """Fork; answer with the child's process id and a pidfd."""
        roles: list[str] = request.params["roles"]
        handover = Handover(
            request.params["domid"],
            request.params["config"],
            dict(zip(roles, request.fds, strict=True)),
        )
        try:
            pid = os.fork()
        except OSError as error:
            request.fail(str(error.strerror))
        else:
            if pid == 0:
                self._daemon.leave()
                self._loop.close()
                _leave_zygote(handover)
                raise _Forked(handover)
            pidfd = os.pidfd_open(pid)
            self._loop.watch(pidfd, READ, lambda _events: self._reap(pid, pidfd))
            request.reply({"pid": pid}, [os.dup(pidfd)])
        rpc.close_all(request.fds)

    def _reap(self, pid: int, pidfd: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._loop.forget(pidfd)
        os.close(pidfd)
        self._daemon.notify("ended", {"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _leave_zygote(handover: Handover) -> None:
    """Become a process of one's own: name, session, descriptors, last words."""
    _set_process_name(f"xen-{handover.config['name']}")
    os.setsid()
    last_words.keep_in(handover.fds["log"])
    _close_all_but([0, 1, 2, *(fd for role, fd in handover.fds.items() if role != "log")])
    faulthandler.enable()


def _close_all_but(fds: Iterable[int]) -> None:
    kept = sorted(fds)
    limit = os.sysconf("SC_OPEN_MAX")
    for fd, following in zip([-1, *kept], [*kept, limit], strict=True):
        # CPython 3.11 takes the empty range from 0 to 0 for all there are.
        if fd + 1 < following:
            os.closerange(fd + 1, following)


def _set_process_name(name: str) -> None:
    """Set what ps(1) and top(1) show; 15 bytes of it at most."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode(errors="replace")), 0, 0, 0)


if __name__ == "__main__":
    main()
