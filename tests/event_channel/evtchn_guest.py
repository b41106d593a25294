"""The guest's side of event channels: its frames, its vCPUs, and how it takes events off.

The consumers do what the ABI asks of a guest, in the order in which Linux does it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.layout import Layout
from xenolith.abi.xen import SHARED_INFO
from xenolith.hypervisor.event_channel import EventChannelTable, event_channel_op
from xenolith.machine.address import Gfn, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

T = TypeVar("T", bound=tuple[Any, ...])

FRAMES = 160
SHARED_INFO_FRAME = Mfn(0)
VCPU_INFO_FRAME = Mfn(1)
ARGUMENT = GuestVirt(2 * 4096)
FIRST_FREE_GFN = 3

PENDING, MASKED, LINKED, BUSY = 1 << 31, 1 << 30, 1 << 29, 1 << 28
LINK = (1 << 17) - 1


class Vcpu:
    """A vCPU whose vcpu_info is in a frame of its own."""

    def __init__(self, memory: MachineMemory, vcpu_id: int) -> None:
        self.registered = memory.frame(VCPU_INFO_FRAME)[64 * vcpu_id : 64 * vcpu_id + 64]
        self.info: memoryview | None = self.registered
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1

    def take_upcall(self) -> bool:
        pending = self.registered[0] != 0
        self.registered[0] = 0
        return pending


class Guest:
    """A domain with guest frames equal to machine frames and a flat address space."""

    word = 8

    def __init__(self, vcpus: int = 2, max_port: int = 1023, domid: int = 7) -> None:
        self.memory = MachineMemory(FRAMES)
        self.vcpus = [Vcpu(self.memory, vcpu_id) for vcpu_id in range(vcpus)]
        shared_info = self.memory.frame(SHARED_INFO_FRAME)
        self.table = EventChannelTable(domid, self.vcpus, shared_info, self.map_frame, max_port)
        offsets = SHARED_INFO.offsets
        self.pending = shared_info[offsets["evtchn_pending"] :][:512].cast("Q")
        self.mask = shared_info[offsets["evtchn_mask"] :][:512].cast("Q")

    def map_frame(self, gfn: Gfn) -> memoryview:
        if not 0 <= gfn < FRAMES:
            raise XenError(Errno.EINVAL, "no such frame")
        return self.memory.frame(Mfn(gfn))

    def copy_from(self, address: GuestVirt, size: int) -> bytes:
        if not 0 <= address <= self.memory.size - size:
            raise XenError(Errno.EFAULT)
        return self.memory.read(address, size)

    def copy_to(self, address: GuestVirt, data: bytes) -> None:
        if not 0 <= address <= self.memory.size - len(data):
            raise XenError(Errno.EFAULT)
        self.memory.write(address, data)

    def hypercall(self, cmd: int, layout: Layout[T], record: T) -> T:
        self.copy_to(ARGUMENT, layout.pack(record))
        assert event_channel_op(self.table, self, cmd, ARGUMENT) == 0
        return layout.unpack(self.copy_from(ARGUMENT, layout.size))


class TwoLevelConsumer:
    """Takes events off the bitmaps."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def set_mask(self, port: int) -> None:
        self.guest.mask[port >> 6] |= 1 << (port & 63)

    def drain(self, vcpu_id: int) -> list[int]:
        handled = []
        vcpu = self.guest.vcpus[vcpu_id]
        while vcpu.take_upcall():
            selected = int.from_bytes(vcpu.registered[8:16], "little")
            vcpu.registered[8:16] = bytes(8)
            for word in range(64):
                if not selected >> word & 1:
                    continue
                active = self.guest.pending[word] & ~self.guest.mask[word]
                for bit in range(64):
                    if active >> bit & 1:
                        self.guest.pending[word] &= ~(1 << bit)
                        handled.append(word << 6 | bit)
        return handled


class FifoConsumer:
    """Takes events off the queues; uses one frame per control block, then event array frames."""

    def __init__(self, guest: Guest, array_pages: int = 1) -> None:
        self.guest = guest
        self.controls: list[memoryview] = []
        self.heads: list[list[int]] = []
        gfn = FIRST_FREE_GFN
        for vcpu_id in range(len(guest.vcpus)):
            guest.table.init_control(vcpu_id, Gfn(gfn), 128)
            self.controls.append(guest.memory.frame(Mfn(gfn))[128:200].cast("I"))
            self.heads.append([0] * 16)
            gfn += 1
        self.words: list[memoryview] = []
        for _ in range(array_pages):
            guest.table.expand_array(Gfn(gfn))
            self.words.append(guest.memory.frame(Mfn(gfn)).cast("I"))
            gfn += 1

    def word(self, port: int) -> int:
        value: int = self.words[port >> 10][port & 1023]
        return value

    def set_word(self, port: int, value: int) -> None:
        self.words[port >> 10][port & 1023] = value

    def set_mask(self, port: int) -> None:
        self.set_word(port, self.word(port) | MASKED)

    def drain(self, vcpu_id: int) -> list[int]:
        handled = []
        control, heads = self.controls[vcpu_id], self.heads[vcpu_id]
        while self.guest.vcpus[vcpu_id].take_upcall():
            ready, control[0] = control[0], 0
            while ready:
                priority = (ready & -ready).bit_length() - 1
                port = heads[priority] or control[2 + priority]
                word = self.word(port)
                heads[priority] = word & LINK
                if not heads[priority]:
                    ready &= ~(1 << priority)
                word &= ~(LINKED | LINK)
                if word & PENDING and not word & MASKED:
                    word &= ~PENDING
                    handled.append(port)
                self.set_word(port, word)
                ready |= control[0]
                control[0] = 0
        return handled
