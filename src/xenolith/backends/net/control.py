"""The control ring, by which a frontend chooses how received frames are hashed (public/io/netif.h)."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.netif import (
    CTRL_REQUEST,
    CTRL_RESPONSE,
    XEN_NETIF_CTRL_HASH_ALGORITHM_NONE,
    XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ,
    CtrlRequest,
    CtrlStatus,
    CtrlType,
)
from xenolith.backends.net.errors import ProtocolError
from xenolith.backends.net.slot_ring import SlotRing
from xenolith.backends.net.steering import MAX_KEY_BYTES, MAX_MAPPING, SUPPORTED_TYPES, Steering
from xenolith.backends.xenbus import Guest, Nodes, number
from xenolith.hypervisor.grant_table import GrantError, GrantTable

_DOMAIN_0 = 0
_ALGORITHMS = (XEN_NETIF_CTRL_HASH_ALGORITHM_NONE, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ)
_ENTRY_BYTES = 4

_Answer = tuple[CtrlStatus, int]
_DONE: _Answer = (CtrlStatus.SUCCESS, 0)
_INVALID: _Answer = (CtrlStatus.INVALID_PARAMETER, 0)
_TOO_MUCH: _Answer = (CtrlStatus.BUFFER_OVERFLOW, 0)
_UNSUPPORTED: _Answer = (CtrlStatus.NOT_SUPPORTED, 0)


class ControlRing:
    """Serves the ring that ``frontend`` offers; GrantError, XenError if it is not there.

    ``disable`` is called if the guest breaks it.
    """

    def __init__(
        self,
        guest: Guest,
        frontend: Nodes,
        steering: Steering,
        disable: Callable[[str], None],
    ) -> None:
        self._grants = guest.grants
        self._steering = steering
        self._disable = disable
        ref, port = number(frontend, "ctrl-ring-ref"), number(frontend, "event-channel-ctrl")
        self._mapping = guest.grants.map(ref, _DOMAIN_0, False)
        self._ring = SlotRing(self._mapping.view, CTRL_REQUEST.size)
        self._closed = False
        try:
            self._port = guest.event_channels.bind_backend(port, _DOMAIN_0, self._serve)
        except Exception:
            self._mapping.unmap()
            raise
        guest.post(self._serve)

    def close(self) -> None:
        """Give the guest back what is its."""
        self._closed = True
        self._port.close()
        self._mapping.unmap()

    def _serve(self) -> None:
        if self._closed:
            return
        try:
            while count := self._ring.available():
                data = self._ring.read(count)
                self._ring.consume(count)
                for at in range(0, len(data), CTRL_REQUEST.size):
                    request = CTRL_REQUEST.unpack(data, at)
                    status, value = answer(request, self._steering, self._grants)
                    response = (request.id, request.type, status, value)
                    self._ring.respond(CTRL_RESPONSE, response)
                if self._ring.push():
                    self._port.notify()
                self._ring.await_requests(1)
        except ProtocolError as error:
            self._disable(str(error))


def answer(request: CtrlRequest, steering: Steering, grants: GrantTable) -> _Answer:
    """Do what a request asks; the status and the value of the response."""
    handler = _HANDLERS.get(request.type)
    if handler is None:
        return _UNSUPPORTED
    try:
        return handler(request.data, steering, grants)
    except GrantError:
        return _INVALID


def _set_algorithm(data: tuple[int, ...], steering: Steering, _grants: GrantTable) -> _Answer:
    if data[0] not in _ALGORITHMS:
        return _INVALID
    steering.algorithm = data[0]
    return _DONE


def _get_flags(_data: tuple[int, ...], steering: Steering, _grants: GrantTable) -> _Answer:
    if steering.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_NONE:
        return _UNSUPPORTED
    return CtrlStatus.SUCCESS, SUPPORTED_TYPES


def _set_flags(data: tuple[int, ...], steering: Steering, _grants: GrantTable) -> _Answer:
    if data[0] & ~SUPPORTED_TYPES or steering.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_NONE:
        return _INVALID
    steering.types = data[0]
    return _DONE


def _set_key(data: tuple[int, ...], steering: Steering, grants: GrantTable) -> _Answer:
    ref, size = data[0], data[1]
    if size > MAX_KEY_BYTES:
        return _TOO_MUCH
    steering.set_key(bytes(grants.copy_window(ref, _DOMAIN_0, True, 0, size)) if size else b"")
    return _DONE


def _get_mapping_size(_data: tuple[int, ...], _steering: Steering, _grants: GrantTable) -> _Answer:
    return CtrlStatus.SUCCESS, MAX_MAPPING


def _set_mapping_size(data: tuple[int, ...], steering: Steering, _grants: GrantTable) -> _Answer:
    if data[0] > MAX_MAPPING:
        return _INVALID
    steering.mapping = [0] * data[0]
    return _DONE


def _set_mapping(data: tuple[int, ...], steering: Steering, grants: GrantTable) -> _Answer:
    ref, count, first = data
    if first + count > len(steering.mapping):
        return _TOO_MUCH
    window = grants.copy_window(ref, _DOMAIN_0, True, 0, count * _ENTRY_BYTES)
    queues = memoryview(bytes(window)).cast("I").tolist()
    if any(queue >= steering.queues for queue in queues):
        return _INVALID
    steering.mapping[first : first + count] = queues
    return _DONE


_HANDLERS: dict[int, Callable[[tuple[int, ...], Steering, GrantTable], _Answer]] = {
    CtrlType.SET_HASH_ALGORITHM: _set_algorithm,
    CtrlType.GET_HASH_FLAGS: _get_flags,
    CtrlType.SET_HASH_FLAGS: _set_flags,
    CtrlType.SET_HASH_KEY: _set_key,
    CtrlType.GET_HASH_MAPPING_SIZE: _get_mapping_size,
    CtrlType.SET_HASH_MAPPING_SIZE: _set_mapping_size,
    CtrlType.SET_HASH_MAPPING: _set_mapping,
}
