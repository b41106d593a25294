"""The process that reads one guest's disk to find what it boots, and shows the menu for that.

It is an interpreter of its own, which loads the libraries for file systems and no engine, jails itself
before it gets the disk, finds what that boots, and ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import traceback

from xenolith.bootloader.boot import Outcome, boot
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.limits import set_limits
from xenolith.bootloader.menu_screen import MenuScreen
from xenolith.bootloader.options import Options
from xenolith.machine import jail
from xenolith.storage.errors import ImageError
from xenolith.storage.image import Image
from xenolith.toolstack import rpc
from xenolith.toolstack.devices.disk_image import image_of

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve the socket at the descriptor ``argv[1]``."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    sock = socket.socket(fileno=int(sys.argv[1]))
    set_limits()
    jail.enter()
    decoder = rpc.Decoder()
    ready = _request(sock, decoder)
    sock.sendall(rpc.encode(rpc.response(ready.body["id"], None)))
    _answer(sock, _request(sock, decoder))
    os._exit(0)


def _request(sock: socket.socket, decoder: rpc.Decoder) -> rpc.Message:
    """The daemon's next request, which follows an answer; the process ends where there is none."""
    while True:
        data, fds = rpc.receive(sock)
        if not data:
            os._exit(0)
        for message in decoder.feed(data, fds):
            return message


def _answer(sock: socket.socket, message: rpc.Message) -> None:
    number = message.body["id"]
    try:
        body = rpc.response(number, _serve(message)._asdict())
    except (BootError, ImageError) as error:
        body = rpc.failure(number, str(error))
    except Exception as error:
        traceback.print_exc()
        body = rpc.failure(number, str(BootError(f"{type(error).__name__}: {error}")))
    sock.sendall(rpc.encode(body))


def _serve(message: rpc.Message) -> Outcome:
    """Do what the request ``boot`` asks for (toolstack/daemon/bootloader.py). BootError, ImageError."""
    params = message.body["params"]
    kernel, ramdisk, *rest = message.fds
    screen = None
    if params["screen"] is not None:
        fd, *rest = rest
        screen = MenuScreen(fd, **params["screen"])
    image: Image | None = image_of(params["disk"], rest)
    if image is None:
        raise BootError("there is no medium in the drive")
    options = Options.from_dict(params["options"])
    chooser = screen.choose if screen is not None else None
    return boot(image, options, chooser, _Copy(kernel).write, _Copy(ramdisk).write)


class _Copy:
    """A memory file that fills up."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> None:
        """Append; OSError where memory does not suffice."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]


if __name__ == "__main__":
    main()
