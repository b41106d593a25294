"""The xenstore wire protocol: message header, message types, limits and the shared ring page.

Mirrors public/io/xs_wire.h; the meaning of the messages is in docs/misc/xenstore.txt.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.errno import Errno
from xenolith.abi.layout import U32, Layout

HEADER = "io/xs_wire.h"


@c_constants("XS_")
class MessageType(IntEnum):
    """What a message asks for or answers."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


class LaterMessageType(IntEnum):
    """Message types that Xen 4.22 added, which the headers of older releases lack."""

    GET_FEATURE = 23
    SET_FEATURE = 24
    GET_QUOTA = 25
    SET_QUOTA = 26


class SockMsg(NamedTuple):
    """The header of every message; ``len`` bytes of payload follow it."""

    type: U32
    req_id: U32
    tx_id: U32
    len: U32


SOCKMSG = Layout(SockMsg, "struct xsd_sockmsg", HEADER)

WIRE_ERRORS = (
    Errno.EINVAL,
    Errno.EACCES,
    Errno.EEXIST,
    Errno.EISDIR,
    Errno.ENOENT,
    Errno.ENOMEM,
    Errno.ENOSPC,
    Errno.EIO,
    Errno.ENOTEMPTY,
    Errno.ENOSYS,
    Errno.EROFS,
    Errno.EBUSY,
    Errno.EAGAIN,
    Errno.EISCONN,
    Errno.E2BIG,
    Errno.EPERM,
)
"""The errors that have a name on the wire (xsd_errors)."""

XENSTORE_RING_SIZE = 1024
XENSTORE_PAYLOAD_MAX = 4096
XENSTORE_ABS_PATH_MAX = 3072
XENSTORE_REL_PATH_MAX = 2048


class XenstoreDomainInterface(NamedTuple):
    """The page that a domain and its xenstore share; the indexes run freely modulo 2**32."""

    req: Annotated[bytes, "1024s"]
    rsp: Annotated[bytes, "1024s"]
    req_cons: U32
    req_prod: U32
    rsp_cons: U32
    rsp_prod: U32
    server_features: U32
    connection: U32
    error: U32


XENSTORE_DOMAIN_INTERFACE = Layout(
    XenstoreDomainInterface, "struct xenstore_domain_interface", HEADER
)


@c_constants("XENSTORE_SERVER_FEATURE_")
class ServerFeature(IntEnum):
    """Bits of ``server_features``."""

    RECONNECTION = 1
    ERROR = 2


class LaterServerFeature(IntEnum):
    """Bits of ``server_features`` that Xen 4.22 added."""

    WATCHDEPTH = 4
    DOMID_ANY = 8


@c_constants("XENSTORE_")
class ConnectionState(IntEnum):
    """Values of ``connection``."""

    CONNECTED = 0
    RECONNECT = 1


@c_constants("XENSTORE_ERROR_")
class RingError(IntEnum):
    """Values of ``error``: why the server stopped talking to the domain."""

    NONE = 0
    COMM = 1
    RINGIDX = 2
    PROTO = 3
