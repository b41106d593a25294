"""The standard streams of the programs: closed ones, and those that take no more output.

Without this a program that was started without standard output would print into whatever file it
opens first, a socket even; with it, what nobody wants to have is lost (POSIX, execve: RATIONALE).
"""

from __future__ import annotations

import os
import sys


def open_closed() -> None:
    """Stand /dev/null in for each standard stream that the program was started without."""
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _redirect(descriptor)
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def finish_output() -> None:
    """Write what is left of the output; OSError if that cannot be, and it is lost then."""
    try:
        sys.stdout.flush()
    except OSError:
        give_up_output()
        raise


def give_up_output() -> None:
    """Have what is left of the output lost, after it could not be written.

    The interpreter would meet the same failure again when it flushes at its exit.
    """
    _redirect(1)


def _redirect(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
