"""What the requests about domains do, most of which only domain 0 may send.

One short function for each message type of docs/misc/xenstore.txt.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenolith.abi.errno import Errno
from xenolith.abi.xen import DOMID_SELF
from xenolith.abi.xs_wire import LaterMessageType, MessageType
from xenolith.xenstore import path as paths
from xenolith.xenstore.change import ALL_DOMAINS, Change, ChangeKind
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.protocol import OK, Message, strings
from xenolith.xenstore.quota import Quota, quota_named
from xenolith.xenstore.requests import control
from xenolith.xenstore.requests.caller import (
    Caller,
    Handler,
    domain_id,
    exactly,
    number,
    only_string,
)
from xenolith.xenstore.session import FEATURES

_NOTHING = (b"", b"\0")
"""Payloads without a parameter, the second being how libxenstore sends none."""


def _control(caller: Caller, message: Message) -> bytes:
    command, *arguments = strings(message.payload) or [b""]
    return control.run(caller.database, command, arguments)


def _introduce(caller: Caller, message: Message) -> bytes:
    # Frame and event channel are the domain process's business here: it relays the ring.
    domid, _, port = _first(3, message)
    if number(port) == 0:
        raise XenstoreError(Errno.EINVAL, "no event channel")
    caller.database.introduce(domain_id(domid))
    return OK


def _release(caller: Caller, message: Message) -> bytes:
    caller.database.release(domain_id(only_string(message.payload)))
    return OK


def _resume(caller: Caller, message: Message) -> bytes:
    caller.database.resume(domain_id(only_string(message.payload)))
    return OK


def _set_target(caller: Caller, message: Message) -> bytes:
    domid, target = map(domain_id, _first(2, message))
    for concerned in (domid, target):
        caller.database.domains.introduced(concerned)
    caller.database.commit(Change(ChangeKind.SET_TARGET, domid=domid, number=target))
    return OK


def _get_domain_path(caller: Caller, message: Message) -> bytes:
    return paths.home(number(only_string(message.payload))).encode() + b"\0"


def _is_domain_introduced(caller: Caller, message: Message) -> bytes:
    domid = number(only_string(message.payload))
    introduced = domid == DOMID_SELF or caller.database.domains.is_introduced(domid)
    return b"T\0" if introduced else b"F\0"


def _get_feature(caller: Caller, message: Message) -> bytes:
    domain = caller.domain
    if message.payload not in _NOTHING:
        if not domain.privileged:
            raise XenstoreError(Errno.EACCES, "only domain 0 may ask for others' features")
        domain = caller.database.domains.get(domain_id(only_string(message.payload)))
    return b"%d\0" % domain.features


def _set_feature(caller: Caller, message: Message) -> bytes:
    raw_domid, raw_features = exactly(2, message.payload)
    domid, features = domain_id(raw_domid), number(raw_features)
    if features & ~FEATURES:
        raise XenstoreError(Errno.EINVAL, f"unknown features {features:#x}")
    if caller.database.domains.is_introduced(domid):
        raise XenstoreError(Errno.EBUSY, f"domain {domid} is introduced")
    caller.database.commit(Change(ChangeKind.SET_FEATURES, domid=domid, number=features))
    return OK


def _get_quota(caller: Caller, message: Message) -> bytes:
    parameters = strings(message.payload)
    if message.payload in _NOTHING:
        return " ".join(Quota).encode() + b"\0"
    domid, quota = _quota_of(parameters)
    return b"%d\0" % caller.database.domains.limits(domid)[quota]


def _set_quota(caller: Caller, message: Message) -> bytes:
    *parameters, value = strings(message.payload) or [b""]
    domid, quota = _quota_of(parameters)
    if domid == 0:
        raise XenstoreError(Errno.EINVAL, "domain 0 has no limits")
    change = Change(ChangeKind.SET_QUOTA, quota, domid=domid, number=number(value))
    caller.database.commit(change)
    return OK


def _quota_of(parameters: list[bytes]) -> tuple[int, Quota]:
    """The domain (ALL_DOMAINS if none is named) and the quota that parameters name; EINVAL."""
    if not 1 <= len(parameters) <= 2:
        raise XenstoreError(Errno.EINVAL, "neither quota nor domain and quota")
    *domid, name = parameters
    return (domain_id(domid[0]) if domid else ALL_DOMAINS), quota_named(name)


def _first(count: int, message: Message) -> list[bytes]:
    found = strings(message.payload)
    if len(found) < count:
        raise XenstoreError(Errno.EINVAL, f"{len(found)} strings, at least {count} needed")
    return found[:count]


DOMAIN_HANDLERS: Mapping[int, Handler] = {
    MessageType.CONTROL: _control,
    MessageType.INTRODUCE: _introduce,
    MessageType.RELEASE: _release,
    MessageType.RESUME: _resume,
    MessageType.SET_TARGET: _set_target,
    MessageType.GET_DOMAIN_PATH: _get_domain_path,
    MessageType.IS_DOMAIN_INTRODUCED: _is_domain_introduced,
    LaterMessageType.GET_FEATURE: _get_feature,
    LaterMessageType.SET_FEATURE: _set_feature,
    LaterMessageType.GET_QUOTA: _get_quota,
    LaterMessageType.SET_QUOTA: _set_quota,
}

PRIVILEGED = frozenset(DOMAIN_HANDLERS) - {
    MessageType.GET_DOMAIN_PATH,
    LaterMessageType.GET_FEATURE,
}
"""What only domain 0 may ask for; others are answered EACCES."""
