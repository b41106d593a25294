"""Whatever a guest passes, its call is described in one line and ends as it would without a trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.trace import line
from xenolith.hypervisor.trace.decoding import Commands, Look
from xenolith.hypervisor.trace.signatures import SIGNATURES, signature_of
from xenolith.machine.address import GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

from .traced_domain import ARGUMENT, FRAMES, LIST, NOWHERE

TOP = 1 << 64


class FlatAccess:
    """Guest memory that is machine memory, and beyond it nothing."""

    word = 8

    def __init__(self) -> None:
        self.memory = MachineMemory(FRAMES)

    def copy_from(self, address: GuestVirt, size: int) -> bytes:
        if not 0 <= address <= self.memory.size - size:
            raise XenError(Errno.EFAULT)
        return self.memory.read(address, size)

    def copy_to(self, address: GuestVirt, data: bytes) -> None:
        raise AssertionError("a trace writes nothing")


ACCESS = FlatAccess()
words = st.sampled_from([0, 1, 2, 3, 0xFFFFFFFF, TOP - 1, ARGUMENT, LIST, NOWHERE]) | st.integers(
    0, TOP - 1
)
pointers = st.sampled_from([ARGUMENT, ARGUMENT + 1, 4096 * FRAMES - 1, TOP - 8, NOWHERE, 0])
structs = st.lists(words, max_size=24).map(
    lambda items: b"".join(w.to_bytes(8, "little") for w in items)
)
images = st.binary(max_size=192) | structs


@given(
    st.sampled_from(sorted(SIGNATURES)) | st.integers(0, TOP - 1),
    st.integers(0, 40) | words,
    st.tuples(pointers | words, pointers | words | st.integers(0, 3), words, words),
    images,
    images,
    st.integers(0, TOP - 1),
    st.booleans(),
)
def test_random_structs_never_raise(
    number: int,
    cmd: int,
    rest: tuple[int, ...],
    before: bytes,
    after: bytes,
    now: int,
    answered: bool,
) -> None:
    ACCESS.memory.frame(Mfn(ARGUMENT >> 12))[:192] = before.ljust(192, b"\0")
    name, signature = signature_of(number)
    reading = signature.read(Look(ACCESS, now), (cmd, *rest))
    ACCESS.memory.frame(Mfn(ARGUMENT >> 12))[:192] = after.ljust(192, b"\0")
    what = line.call(name, reading.finish(answered), reading.result(0), 1000)
    assert "\n" not in what
    assert len(what) < 2000
    call = line.parse_call(what)
    assert call is not None
    assert (call.name, call.time_us) == (name, 1.0)


@given(words, st.sampled_from(sorted(SIGNATURES)))
def test_any_result_can_be_shown(result: int, number: int) -> None:
    for cmd in range(16):
        reading = SIGNATURES[number].read(Look(ACCESS, 0), (cmd, 0, 0, 0, 0))
        assert reading.result(result)


@pytest.mark.parametrize("number", sorted(SIGNATURES))
def test_every_command_is_decoded_by_name(number: int) -> None:
    """A command of the ABI is never shown as a number."""
    _, signature = signature_of(number)
    if not isinstance(signature, Commands):
        return
    for cmd in signature._names:
        text = signature.read(Look(ACCESS, 0), (cmd, 1, 1, 1, 1)).finish(True)
        assert not text.split()[0].rstrip(",").isdecimal()
