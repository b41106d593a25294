"""What the requests about nodes, watches and transactions do.

One short function for each message type of docs/misc/xenstore.txt.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import XENSTORE_PAYLOAD_MAX, LaterServerFeature, MessageType
from xenolith.xenstore import operations
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.protocol import OK, Message, strings
from xenolith.xenstore.requests.caller import Caller, Handler, exactly, number, only_string
from xenolith.xenstore.tree import Node


def _read(caller: Caller, message: Message) -> bytes:
    return operations.read(caller.view(message), caller.domain, caller.only_path(message)).value


def _write(caller: Caller, message: Message) -> bytes:
    raw, nul, value = message.payload.partition(b"\0")
    if not nul:
        raise XenstoreError(Errno.EINVAL, "no path")
    operations.write(caller.view(message), caller.domain, caller.path(raw), value)
    return OK


def _mkdir(caller: Caller, message: Message) -> bytes:
    operations.mkdir(caller.view(message), caller.domain, caller.only_path(message))
    return OK


def _rm(caller: Caller, message: Message) -> bytes:
    operations.remove(caller.view(message), caller.domain, caller.only_path(message))
    return OK


def _directory(caller: Caller, message: Message) -> bytes:
    node = operations.read(caller.view(message), caller.domain, caller.only_path(message))
    return _names_of_children(node)


def _directory_part(caller: Caller, message: Message) -> bytes:
    raw, offset = exactly(2, message.payload)
    node = operations.read(caller.view(message), caller.domain, caller.path(raw))
    names = _names_of_children(node)
    generation = b"%d\0" % node.generation
    rest = names[number(offset) :]
    room = XENSTORE_PAYLOAD_MAX - len(generation) - 1
    if len(rest) <= room:
        # An empty name marks the end of the list.
        return generation + rest + b"\0"
    return generation + rest[: rest.rfind(b"\0", 0, room) + 1]


def _get_perms(caller: Caller, message: Message) -> bytes:
    view, path = caller.view(message), caller.only_path(message)
    return perms.render(operations.get_permissions(view, caller.domain, path))


def _set_perms(caller: Caller, message: Message) -> bytes:
    raw, *entries = strings(message.payload) or [b""]
    permissions = perms.parse(entries)
    operations.set_permissions(caller.view(message), caller.domain, caller.path(raw), permissions)
    return OK


def _watch(caller: Caller, message: Message) -> bytes:
    parameters = strings(message.payload)
    depth = None
    if len(parameters) == 3 and caller.domain.features & LaterServerFeature.WATCHDEPTH:
        depth = number(parameters.pop())
    if len(parameters) != 2:
        raise XenstoreError(Errno.EINVAL, "neither path and token nor path, token and depth")
    raw, token = parameters
    caller.path(raw)
    caller.database.watch(caller.session, raw.decode("ascii"), token, depth).trigger()
    return OK


def _unwatch(caller: Caller, message: Message) -> bytes:
    raw, token = exactly(2, message.payload)
    caller.path(raw)
    caller.database.unwatch(caller.session, raw.decode("ascii"), token)
    return OK


def _reset_watches(caller: Caller, message: Message) -> bytes:
    caller.database.reset(caller.session)
    return OK


def _transaction_start(caller: Caller, message: Message) -> bytes:
    if message.transaction_id != 0:
        raise XenstoreError(Errno.EBUSY, "transactions do not nest")
    return b"%d\0" % caller.database.transactions.start(caller.session)


def _transaction_end(caller: Caller, message: Message) -> bytes:
    verdict = only_string(message.payload)
    if verdict == b"T":
        caller.database.commit_transaction(caller.session, message.transaction_id)
    elif verdict == b"F":
        caller.database.transactions.abandon(caller.session, message.transaction_id)
    else:
        raise XenstoreError(Errno.EINVAL, f"neither T nor F: {verdict[:20]!r}")
    return OK


def _names_of_children(node: Node) -> bytes:
    return "".join([f"{name}\0" for name in node.children]).encode("ascii")


NODE_HANDLERS: Mapping[int, Handler] = {
    MessageType.READ: _read,
    MessageType.WRITE: _write,
    MessageType.MKDIR: _mkdir,
    MessageType.RM: _rm,
    MessageType.DIRECTORY: _directory,
    MessageType.DIRECTORY_PART: _directory_part,
    MessageType.GET_PERMS: _get_perms,
    MessageType.SET_PERMS: _set_perms,
    MessageType.WATCH: _watch,
    MessageType.UNWATCH: _unwatch,
    MessageType.RESET_WATCHES: _reset_watches,
    MessageType.TRANSACTION_START: _transaction_start,
    MessageType.TRANSACTION_END: _transaction_end,
}
