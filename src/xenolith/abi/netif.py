"""The network interface's rings: transmit, receive and control slots, and the extras between them.

Mirrors public/io/netif.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import S16, U8, U16, U32, Layout

HEADER = "io/netif.h"

XEN_NETIF_NR_SLOTS_MIN = 18
"""Slots of a transmitted packet that a backend takes; extras are not among them."""
XEN_NETIF_MAX_TX_SIZE = 0xFFFF

NETTXF_csum_blank = 1 << 0
NETTXF_data_validated = 1 << 1
NETTXF_more_data = 1 << 2
NETTXF_extra_info = 1 << 3

NETRXF_data_validated = 1 << 0
NETRXF_csum_blank = 1 << 1
NETRXF_more_data = 1 << 2
NETRXF_extra_info = 1 << 3

XEN_NETIF_EXTRA_FLAG_MORE = 1 << 0

XEN_NETIF_CTRL_HASH_ALGORITHM_NONE = 0
XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ = 1


@c_constants("XEN_NETIF_EXTRA_TYPE_")
class ExtraType(IntEnum):
    """What an extra slot says of its packet, or instead of one."""

    NONE = 0
    GSO = 1
    MCAST_ADD = 2
    MCAST_DEL = 3
    HASH = 4


@c_constants("XEN_NETIF_GSO_TYPE_")
class GsoType(IntEnum):
    """How a packet that is larger than the link's MTU is to be cut."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 2


@c_constants("NETIF_RSP_")
class Rsp(IntEnum):
    """The status of a response; that of a received packet is its size."""

    OKAY = 0
    ERROR = -1
    DROPPED = -2
    NULL = 1


@c_constants("XEN_NETIF_CTRL_TYPE_")
class CtrlType(IntEnum):
    """A request on the control ring."""

    INVALID = 0
    GET_HASH_FLAGS = 1
    SET_HASH_FLAGS = 2
    SET_HASH_KEY = 3
    GET_HASH_MAPPING_SIZE = 4
    SET_HASH_MAPPING_SIZE = 5
    SET_HASH_MAPPING = 6
    SET_HASH_ALGORITHM = 7
    GET_GREF_MAPPING_SIZE = 8
    ADD_GREF_MAPPING = 9
    DEL_GREF_MAPPING = 10


@c_constants("XEN_NETIF_CTRL_STATUS_")
class CtrlStatus(IntEnum):
    """The answer to a request on the control ring."""

    SUCCESS = 0
    NOT_SUPPORTED = 1
    INVALID_PARAMETER = 2
    BUFFER_OVERFLOW = 3


@c_constants("_XEN_NETIF_CTRL_HASH_TYPE_")
class HashType(IntEnum):
    """The headers that a packet's hash is computed over; also the numbers of a mask's bits."""

    IPV4 = 0
    IPV4_TCP = 1
    IPV6 = 2
    IPV6_TCP = 3


class TxRequest(NamedTuple):
    """A stretch of a packet to transmit; the first one's size is that of the whole packet."""

    gref: U32
    offset: U16
    flags: U16
    id: U16
    size: U16


TX_REQUEST = Layout(TxRequest, "struct netif_tx_request", HEADER)


class TxResponse(NamedTuple):
    """The backend is done with a transmit slot."""

    id: U16
    status: S16


TX_RESPONSE = Layout(TxResponse, "struct netif_tx_response", HEADER)


class RxRequest(NamedTuple):
    """A frame to receive into."""

    id: U16
    pad: U16
    gref: U32


RX_REQUEST = Layout(RxRequest, "struct netif_rx_request", HEADER)


class RxResponse(NamedTuple):
    """A stretch of a received packet; ``status`` is its size in bytes."""

    id: U16
    offset: U16
    flags: U16
    status: S16


RX_RESPONSE = Layout(RxResponse, "struct netif_rx_response", HEADER)


class ExtraGso(NamedTuple):
    """The packet is to be cut into segments of ``size`` bytes of payload."""

    type: U8
    flags: U8
    size: U16
    gso_type: U8
    pad: U8
    features: U16


EXTRA_GSO = Layout(
    ExtraGso,
    "struct netif_extra_info",
    HEADER,
    {"size": "u.gso.size", "gso_type": "u.gso.type", "features": "u.gso.features"},
)


class ExtraMcast(NamedTuple):
    """No packet: an address to be added to or taken from the multicast filter."""

    type: U8
    flags: U8
    addr: Annotated[bytes, "6s"]


EXTRA_MCAST = Layout(ExtraMcast, "struct netif_extra_info", HEADER, {"addr": "u.mcast.addr"})


class ExtraHash(NamedTuple):
    """The hash of the packet's headers, least significant byte first."""

    type: U8
    flags: U8
    hash_type: U8
    algorithm: U8
    value: Annotated[bytes, "4s"]


EXTRA_HASH = Layout(
    ExtraHash,
    "struct netif_extra_info",
    HEADER,
    {"hash_type": "u.hash.type", "algorithm": "u.hash.algorithm", "value": "u.hash.value"},
)


class CtrlRequest(NamedTuple):
    """A request on the control ring."""

    id: U16
    type: U16
    data: Annotated[tuple[int, ...], "3I"]


CTRL_REQUEST = Layout(CtrlRequest, "struct xen_netif_ctrl_request", HEADER)


class CtrlResponse(NamedTuple):
    """The answer to the control request ``id``."""

    id: U16
    type: U16
    status: U32
    data: U32


CTRL_RESPONSE = Layout(CtrlResponse, "struct xen_netif_ctrl_response", HEADER)
