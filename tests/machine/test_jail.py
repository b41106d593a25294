"""The jail of a domain process, tried from inside by a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from xenolith.machine import jail

PRELUDE = """
import ctypes, errno, json, mmap, os, signal, socket, sys, threading, time
from xenolith.machine import jail
libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*arguments)
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]
"""


def run_jailed(script: str) -> Any:
    """The JSON that a script prints in a process of its own."""
    program = PRELUDE + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_a_jailed_process_reaches_nothing_outside() -> None:
    results = run_jailed(
        """
        parent, sock = os.getppid(), socket.socketpair()[0].fileno()
        path, argv = ctypes.c_char_p(b"/etc/passwd"), (ctypes.c_char_p * 1)(None)
        jail.enter()
        memory = ctypes.create_string_buffer(64)
        print(json.dumps({
            "open": call(2, path, 0, 0),
            "openat": call(257, -100, path, 0, 0),
            "openat2": call(437, -100, path, memory, 24),
            "creat": call(85, path, 0),
            "unlink": call(87, path),
            "socket": call(41, 1, 1, 0),
            "connect": call(42, sock, memory, 16),
            "bind": call(49, sock, memory, 16),
            "execve": call(59, path, argv, argv),
            "execveat": call(322, -100, path, argv, argv, 0),
            "fork": call(57),
            "vfork": call(58),
            "clone": call(56, 17, 0, 0, 0, 0),
            "ptrace": call(101, 16, parent, 0, 0),
            "process_vm_readv": call(310, parent, memory, 1, memory, 1, 0),
            "process_vm_writev": call(311, parent, memory, 1, memory, 1, 0),
            "pidfd_open": call(434, parent, 0),
            "kill": call(62, parent, 0),
            "tkill": call(200, parent, 0),
            "tgkill": call(234, parent, parent, 0),
            "prlimit64": call(302, parent, 7, 0, memory),
            "sched_setaffinity": call(203, parent, 8, memory),
            "fcntl F_SETOWN": call(72, sock, 8, parent),
            "prctl": call(157, 4, 1, 0, 0, 0),
            "io_uring_setup": call(425, 1, memory),
            "userfaultfd": call(323, 0),
            "bpf": call(321, 0, memory, 64),
            "unshare": call(272, 0x10000000),
            "mount": call(165, path, path, path, 0, 0),
            "x32 read": call(0x40000000, 0, memory, 0),
        }))
        """
    )
    assert {name: result for name, result in results.items() if result != "EPERM"} == {}


def test_clone3_looks_absent_so_that_glibc_takes_clone() -> None:
    results = run_jailed("jail.enter()\nprint(json.dumps(call(435, 0, 0)))")
    assert results == "ENOSYS"


def test_a_jailed_process_can_do_its_work() -> None:
    results = run_jailed(
        """
        ours, theirs = socket.socketpair()
        log = os.memfd_create("log")
        from xenolith.machine.event_loop import EventLoop
        from xenolith.machine.memory import MachineMemory
        from xenolith.toolstack.rpc import receive
        jail.enter()
        memory = MachineMemory(16)
        memory.write(4096, b"kept")
        memory.discard(0)
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes([0xB8, 42, 0, 0, 0, 0xC3]))
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        loop = EventLoop()
        answers = []
        def work():
            answers.append(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
            loop.post(loop.stop)
        thread = threading.Thread(target=work)
        thread.start()
        loop.call_later(10, loop.stop)
        loop.run()
        thread.join()
        ours.setblocking(False)
        socket.send_fds(theirs, [b"x"], [log])
        _, (received,) = receive(ours)
        os.write(received, b"line")
        os.pwrite(received, b"L", 0)
        with socket.socket(fileno=os.dup(theirs.fileno())) as again:
            answers.append(again.type == socket.SOCK_STREAM)
        libc.prctl(15, b"xen-test", 0, 0, 0)
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        time.sleep(0.001)
        answers += [os.pread(log, 4, 0).decode(), len(os.urandom(4)), os.fstat(log).st_size]
        print(json.dumps(answers))
        """
    )
    assert results == [42, True, "Line", 4, 4]


def test_the_engine_works_in_the_jail() -> None:
    results = run_jailed(
        """
        from unicorn import Uc, UC_ARCH_X86, UC_MODE_64
        from unicorn.x86_const import UC_X86_REG_RAX
        import unicorn.unicorn_py3.arch.intel
        jail.enter()
        engine = Uc(UC_ARCH_X86, UC_MODE_64)
        engine.mem_map(0x1000, 0x1000)
        engine.mem_write(0x1000, bytes([0x48, 0xC7, 0xC0, 7, 0, 0, 0, 0xF4]))
        def run():
            engine.emu_start(0x1000, 0x1007)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        print(json.dumps(engine.reg_read(UC_X86_REG_RAX)))
        """
    )
    assert results == 7


def test_the_jail_holds_threads_that_run_already_and_limits_the_process() -> None:
    results = run_jailed(
        """
        import resource
        go, answers = threading.Event(), []
        def attempt():
            go.wait()
            answers.append(call(41, 1, 1, 0))
        thread = threading.Thread(target=attempt)
        thread.start()
        jail.enter()
        go.set()
        thread.join()
        core, files = map(resource.getrlimit, (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE))
        print(json.dumps([answers, core, files[0] <= jail.OPEN_FILES]))
        """
    )
    assert results == [["EPERM"], [0, 0], True]


def test_system_call_numbers_are_those_of_linux() -> None:
    headers = [
        Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        Path("/usr/include/asm/unistd_64.h"),
    ]
    present = [header for header in headers if header.exists()]
    if not present:
        pytest.skip("linux-libc-dev is not installed")
    numbers = {
        name: int(number)
        for name, number in re.findall(r"#define __NR_(\w+) (\d+)", present[0].read_text())
    }
    ours = jail._PLAIN | {name: number for name, (number, _) in jail._CHECKED.items()}
    ours |= {"tgkill": jail._TGKILL, "clone3": jail._CLONE3, "ioctl": jail._IOCTL_NUMBER}
    assert {name: (number, numbers.get(name)) for name, number in ours.items()} == {
        name: (number, number) for name, number in ours.items()
    }
