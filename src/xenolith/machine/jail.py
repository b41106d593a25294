"""The jail of a domain process: what a guest that broke out of its engine could still ask of Linux.

It keeps the descriptors that it was handed and may make memory, threads and timers; it opens no
file, makes no socket, starts no program and touches no other process (docs/daemon.md).
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence

from xenolith.machine import seccomp
from xenolith.machine.seccomp import Argument, Rule

OPEN_FILES = 1024
"""The limit on descriptors: a console client each, and a constant few."""

_SELF = (0,)
_THREAD_FLAGS = 0x00000100 | 0x00000800 | 0x00010000
"""CLONE_VM, CLONE_SIGHAND, CLONE_THREAD."""
_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_FCNTL = (0, 1, 2, 3, 4, 36, 37, 1030, 1033, 1034)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_OFD_GETLK, F_OFD_SETLK, F_DUPFD_CLOEXEC,
F_ADD_SEALS, F_GET_SEALS. Locks are those of the images that it was handed."""
_IOCTL = (0x5421, 0x5450, 0x5451)
"""FIONBIO, FIONCLEX, FIOCLEX: CPython sets descriptor flags by them."""
_PR_SET_NAME = 15
_AT_EMPTY_PATH = 0x1000

_DESCRIPTORS = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "pread64": 17,
    "pwrite64": 18, "readv": 19, "writev": 20, "select": 23, "dup": 32, "dup2": 33,
    "sendfile": 40, "fsync": 74,
    "fdatasync": 75, "ftruncate": 77, "fadvise64": 221, "epoll_wait": 232, "epoll_ctl": 233,
    "pselect6": 270, "ppoll": 271, "epoll_pwait": 281, "timerfd_create": 283, "fallocate": 285,
    "timerfd_settime": 286, "timerfd_gettime": 287, "eventfd2": 290, "epoll_create1": 291,
    "dup3": 292, "pipe2": 293, "preadv": 295, "pwritev": 296, "memfd_create": 319,
    "preadv2": 327, "pwritev2": 328, "close_range": 436, "epoll_pwait2": 441,
}  # fmt: skip
_SOCKETS = {
    "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48,
    "getsockname": 51, "getpeername": 52, "getsockopt": 55, "accept4": 288,
}  # fmt: skip
_MEMORY = {
    "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "msync": 26, "mincore": 27,
    "madvise": 28,
}  # fmt: skip
_THREADS = {
    "sched_yield": 24, "exit": 60, "gettid": 186, "futex": 202, "set_tid_address": 218,
    "exit_group": 231, "set_robust_list": 273, "getcpu": 309, "membarrier": 324, "rseq": 334,
}  # fmt: skip
_SIGNALS = {
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131,
    "restart_syscall": 219,
}  # fmt: skip
_TIME_AND_SELF = {
    "nanosleep": 35, "getpid": 39, "uname": 63, "gettimeofday": 96, "getrusage": 98,
    "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108,
    "arch_prctl": 158, "time": 201, "clock_gettime": 228, "clock_getres": 229,
    "clock_nanosleep": 230, "getrandom": 318,
}  # fmt: skip

_PLAIN = {**_DESCRIPTORS, **_SOCKETS, **_MEMORY, **_THREADS, **_SIGNALS, **_TIME_AND_SELF}

_CHECKED: dict[str, tuple[int, tuple[Argument, ...]]] = {
    "clone": (56, (Argument(0, (_THREAD_FLAGS,), _THREAD_FLAGS | _NAMESPACE_FLAGS),)),
    "fcntl": (72, (Argument(1, _FCNTL),)),
    "getpriority": (140, (Argument(0, _SELF), Argument(1, _SELF))),
    "setpriority": (141, (Argument(0, _SELF), Argument(1, _SELF))),
    "prctl": (157, (Argument(0, (_PR_SET_NAME,)),)),
    "sched_setaffinity": (203, (Argument(0, _SELF),)),
    "sched_getaffinity": (204, (Argument(0, _SELF),)),
    # What glibc makes of fstat(). It can ask about paths as well: attributes, never contents.
    "newfstatat": (262, (Argument(3, (_AT_EMPTY_PATH,)),)),
    "prlimit64": (302, (Argument(0, _SELF),)),
}

_IOCTL_NUMBER = 16
_TGKILL = 234
_CLONE3 = 435


def _rules(ioctls: Sequence[int]) -> list[Rule]:
    """The allow list of this very process."""
    return [
        *(Rule(number) for number in _PLAIN.values()),
        *(Rule(number, conditions) for number, conditions in _CHECKED.values()),
        Rule(_IOCTL_NUMBER, (Argument(1, (*_IOCTL, *ioctls)),)),
        Rule(_TGKILL, (Argument(0, (os.getpid(),)),)),
    ]


def enter(ioctls: Sequence[int] = ()) -> None:
    """Jail this process, all its threads and all that they will start, for good.

    ``ioctls`` are requests that it may make of devices that it has opened. Everything not allowed fails
    with EPERM. Raises OSError where Linux offers no such jail.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    # clone3 hides its flags behind a pointer; glibc uses clone where clone3 does not exist.
    seccomp.install(seccomp.compile_rules(_rules(ioctls), {_CLONE3: errno.ENOSYS}))
