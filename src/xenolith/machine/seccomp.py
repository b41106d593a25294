"""Linux's system call filter (seccomp(2)): allow lists compiled to classic BPF and installed.

The filter language and the data that it sees are those of linux/bpf_common.h and linux/seccomp.h;
only x86-64 is known here.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_SYSCALL_BIT = 0x40000000

_LOAD_WORD = 0x20
_AND = 0x54
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_GREATER_OR_EQUAL = 0x35
_RETURN = 0x06

_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000

_NUMBER_OFFSET = 0
_ARCH_OFFSET = 4
_ARGS_OFFSET = 16

_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP = 317
_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1
_FLAG_SPEC_ALLOW = 4


class Argument(NamedTuple):
    """A condition on the low 32 bits of one argument: ``argument & mask`` is one of ``values``."""

    position: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


class Rule(NamedTuple):
    """What becomes of one system call: allowed where every condition holds, else refused."""

    number: int
    conditions: tuple[Argument, ...] = ()


class Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction)))


def _condition(condition: Argument) -> list[Instruction]:
    """Fall through where the condition holds; else leave by a jump that the caller lands."""
    code = [Instruction(_LOAD_WORD, 0, 0, _ARGS_OFFSET + 8 * condition.position)]
    if condition.mask != 0xFFFFFFFF:
        code.append(Instruction(_AND, 0, 0, condition.mask))
    last = len(condition.values) - 1
    code += [
        Instruction(_JUMP_IF_EQUAL, last - position, 0, value)
        for position, value in enumerate(condition.values)
    ]
    return code


def _rule(rule: Rule) -> list[Instruction]:
    """Code that decides about one system call and falls through for all others."""
    body: list[Instruction] = []
    for condition in reversed(rule.conditions):
        test = _condition(condition)
        # Where the last value differs too: past the remaining conditions and their ALLOW.
        test[-1].jf = len(body) + 1
        body = test + body
    body.append(Instruction(_RETURN, 0, 0, _ALLOW))
    if rule.conditions:
        body.append(Instruction(_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return [Instruction(_JUMP_IF_EQUAL, 0, len(body), rule.number), *body]


def compile_rules(rules: Iterable[Rule], errors: Mapping[int, int]) -> list[Instruction]:
    """A program that allows what ``rules`` allow and refuses all else with EPERM.

    ``errors`` maps the numbers of system calls to other errnos to refuse them with. A call of
    another architecture kills the process.
    """
    code = [
        Instruction(_LOAD_WORD, 0, 0, _ARCH_OFFSET),
        Instruction(_JUMP_IF_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        Instruction(_RETURN, 0, 0, _KILL_PROCESS),
        Instruction(_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
        Instruction(_JUMP_IF_GREATER_OR_EQUAL, 0, 1, _X32_SYSCALL_BIT),
        Instruction(_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    for rule in rules:
        code += _rule(rule)
    for number, error in errors.items():
        code += [
            Instruction(_JUMP_IF_EQUAL, 0, 1, number),
            Instruction(_RETURN, 0, 0, _ERRNO | error),
        ]
    return [*code, Instruction(_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def install(code: list[Instruction]) -> None:
    """Filter every thread of this process by ``code``, for good; OSError if that cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _last_error()
    array = (Instruction * len(code))(*code)
    program = _Program(len(code), array)
    # Kernels before 5.16 slow down a filtered process against Spectre v4 unless told not to. One
    # process holds one guest, so there is nobody inside it to protect from its speculation.
    flags = _FLAG_TSYNC | _FLAG_SPEC_ALLOW
    if libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, flags, ctypes.byref(program)) != 0:
        raise _last_error()


def _last_error() -> OSError:
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error))
