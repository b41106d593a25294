"""`vhd serve`: an image for NBD clients such as nbdcopy, qemu-img and the Linux kernel."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote

from xenolith.cli import signals
from xenolith.cli.command import (
    ONE,
    CommandError,
    Interrupted,
    Options,
    UsageError,
    parse_options,
)
from xenolith.storage.nbd.constants import DEFAULT_PORT
from xenolith.storage.nbd.listen import listening_tcp, listening_unix
from xenolith.storage.nbd.server import Server
from xenolith.storage.open import open_image

NAME = "serve"
SYNOPSIS = (
    "[--from=raw|vhd] [--read-only] [--export=NAME] [--socket=PATH | --port=N [--bind=ADDRESS]]"
    " [--pid-file=FILE] IMAGE"
)
HELP = f"""\
Let NBD clients read and write an image, until Ctrl-C
Its URI is printed once clients can connect. NBD has no passwords: a socket is for this user only,
a port for everybody who can reach it.
--from=FORMAT           What IMAGE is: vhd (the default) or raw.
--read-only             Refuse to change it, so that others may read it meanwhile.
--export=NAME           Its name among exports; any client gets it without a name, too.
--socket=PATH           Listen on this unix socket.
--port=N                Listen on this TCP port; {DEFAULT_PORT} if there is no --socket either. 0: any.
--bind=ADDRESS          Listen on this address, instead of on 127.0.0.1.
--pid-file=FILE         Write the process ID to this file, and remove it in the end.
"""
SHORT = ""
LONG = {
    "from": "f", "read-only": "r", "export": "e", "socket": "s", "port": "p", "bind": "b",
    "pid-file": "P",
}  # fmt: skip


def run(arguments: list[str]) -> int:
    """Serve it until a signal comes, which is a success."""
    options = parse_options(arguments, "f:e:s:p:b:P:", LONG, ONE)
    with contextlib.suppress(Interrupted), signals.signals_as_exceptions():
        _serve(options)
    return 0


def _serve(options: Options) -> None:
    path, name = options.operands[0], options.given.get("e", "")
    listening = _listening(options)
    with ExitStack() as stack:
        image = open_image(path, options.given.get("f", "vhd"), writable="r" not in options)
        stack.callback(image.close)
        if not image.read_only:
            stack.callback(image.flush)
        listener = stack.enter_context(listening)
        server = Server(image, name, path)
        stack.callback(server.close)
        if "P" in options:
            stack.enter_context(_pid_file(options.given["P"]))
        print(_uri(listener, name), flush=True)
        server.serve(listener)


def _listening(options: Options) -> contextlib.AbstractContextManager[socket.socket]:
    if "s" in options:
        if "p" in options or "b" in options:
            raise UsageError("a server has either a socket or a port")
        return listening_unix(os.path.abspath(options.given["s"]))
    port = options.given.get("p", str(DEFAULT_PORT))
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"'{port}' is not a port")
    return listening_tcp(options.given.get("b", "127.0.0.1"), int(port))


def _uri(listener: socket.socket, name: str) -> str:
    address = listener.getsockname()
    if isinstance(address, str):
        return f"nbd+unix:///{quote(name, safe='')}?socket={quote(address)}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"nbd://{host}:{address[1]}/{quote(name, safe='')}"


@contextmanager
def _pid_file(path: str) -> Iterator[None]:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
