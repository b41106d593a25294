"""The event channels of one domain: allocating, binding, sending, closing.

Behaves as Xen 4.17's common/event_channel.c does for a domain whose only peer is domain 0, whose
backends live in this process.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.event_channel import EVTCHN_FIFO_PRIORITY_DEFAULT
from xenolith.abi.xen import NR_VIRQS, Virq
from xenolith.hypervisor.event_channel.backend import BackendPort
from xenolith.hypervisor.event_channel.channel import Channel, ChannelState, Notify
from xenolith.hypervisor.event_channel.delivery import (
    Delivery,
    Pollers,
    UpcallTarget,
    mark_upcall_pending,
)
from xenolith.hypervisor.event_channel.fifo import Fifo, MapFrame
from xenolith.hypervisor.event_channel.observer import EventObserver
from xenolith.hypervisor.event_channel.ports import Ports
from xenolith.hypervisor.event_channel.two_level import TwoLevel, capacity, selector
from xenolith.hypervisor.guest_access import LONG_WORD
from xenolith.machine.address import Gfn

_VCPU_VIRQS = frozenset({Virq.TIMER, Virq.DEBUG, Virq.XENOPROF, Virq.XENPMU})


class EventChannelTable:
    """Ports of domain ``domid``, delivered to ``vcpus``.

    ``shared_info`` is a view (format ``B``) of the domain's shared info frame. ``vcpus`` is the
    domain's own list, by vCPU id and complete from the start. ``map_frame`` serves the FIFO ABI.
    ``max_port`` is the domain's limit (xl.cfg's event_channels).
    """

    def __init__(
        self,
        domid: int,
        vcpus: Sequence[UpcallTarget],
        shared_info: memoryview,
        map_frame: MapFrame,
        max_port: int = 1023,
    ) -> None:
        self.domid = domid
        self.observer: EventObserver | None = None
        self._vcpus = vcpus
        self._shared_info = shared_info
        self._map_frame = map_frame
        self._ports = Ports(max_port)
        self._pollers = Pollers(vcpus)
        self._virqs: dict[tuple[int, int], Channel] = {}
        self._backend_ports = 0
        self._word = LONG_WORD
        self._delivery: Delivery = self._two_level()

    def alloc_unbound(self, remote_domid: int) -> int:
        """Return a new port that domain ``remote_domid`` may bind; XenError(ENOSPC)."""
        channel = self._bind(ChannelState.UNBOUND)
        channel.remote_domid = remote_domid
        return channel.port

    def bind_interdomain(self, remote_port: int) -> int:
        """Bind a new port to an unbound one of the same domain; XenError(EINVAL, ENOSPC)."""
        remote = self._unbound(remote_port, self.domid)
        local = self._bind(ChannelState.INTERDOMAIN)
        for end, other in ((local, remote), (remote, local)):
            end.state = ChannelState.INTERDOMAIN
            end.remote_domid = self.domid
            end.remote_port = other.port
            end.local_end = other
        # Whoever notified the remote port before it was bound was not heard.
        self._raise(local)
        return local.port

    def bind_virq(self, virq: int, vcpu_id: int) -> int:
        """Return a new port for a VIRQ of a vCPU; XenError(EINVAL, ENOENT, EEXIST, ENOSPC)."""
        if virq >= NR_VIRQS or (virq not in _VCPU_VIRQS and vcpu_id):
            raise XenError(Errno.EINVAL, f"VIRQ {virq} of vCPU {vcpu_id}")
        self._check_vcpu(vcpu_id)
        if (virq, vcpu_id) in self._virqs:
            raise XenError(Errno.EEXIST, f"VIRQ {virq} of vCPU {vcpu_id} is bound")
        channel = self._bind(ChannelState.VIRQ)
        channel.virq = virq
        channel.vcpu_id = vcpu_id
        self._virqs[virq, vcpu_id] = channel
        return channel.port

    def bind_ipi(self, vcpu_id: int) -> int:
        """Return a new port whose sends are delivered to ``vcpu_id``; XenError(ENOENT, ENOSPC)."""
        self._check_vcpu(vcpu_id)
        channel = self._bind(ChannelState.IPI)
        channel.vcpu_id = vcpu_id
        channel.local_end = channel
        return channel.port

    def bind_vcpu(self, port: int, vcpu_id: int) -> None:
        """Deliver a port to another vCPU; XenError(ENOENT, EINVAL)."""
        self._check_vcpu(vcpu_id)
        channel = self._ports[port]
        match channel.state:
            case ChannelState.UNBOUND | ChannelState.INTERDOMAIN:
                channel.vcpu_id = vcpu_id
            case ChannelState.VIRQ if channel.virq not in _VCPU_VIRQS:
                channel.vcpu_id = vcpu_id
            case _:
                raise XenError(Errno.EINVAL, f"port {port} is bound to its vCPU")

    def close(self, port: int) -> None:
        """Free a port; its other end becomes unbound; XenError(EINVAL)."""
        channel = self._ports[port]
        if not channel.is_usable:
            raise XenError(Errno.EINVAL, f"port {port} is not bound")
        if channel.state is ChannelState.VIRQ:
            owner = channel.vcpu_id if channel.virq in _VCPU_VIRQS else 0
            del self._virqs[channel.virq, owner]
        elif channel.state is ChannelState.INTERDOMAIN and channel.local_end is not None:
            self._unbind(channel.local_end)
        self._delivery.clear_pending(channel)
        self._ports.release(channel)

    def send(self, port: int) -> None:
        """Notify the other end of a port; XenError(EINVAL)."""
        channel = self._ports[port]
        end = channel.local_end
        if end is not None:
            self._raise(end)
        elif channel.notify is not None:
            if self.observer is not None:
                self.observer.sent(channel)
            channel.notify()
        elif channel.state is not ChannelState.UNBOUND:
            raise XenError(Errno.EINVAL, f"port {port} cannot be sent on")

    def unmask(self, port: int) -> None:
        """Unmask a port and deliver it if it is pending; XenError(EINVAL)."""
        channel = self._ports[port]
        if channel.is_usable:
            self._delivery.unmask(channel)

    def status(self, port: int) -> Channel:
        """The channel of a valid port, to be read only; XenError(EINVAL)."""
        return self._ports[port]

    def set_priority(self, port: int, priority: int) -> None:
        """Set a port's FIFO priority; XenError(EINVAL, EACCES, ENOSYS)."""
        self._delivery.set_priority(self._ports[port], priority)

    def init_control(self, vcpu_id: int, gfn: Gfn, offset: int) -> None:
        """Place a vCPU's FIFO control block; the first one switches the domain to the FIFO ABI.

        XenError(ENOENT, EINVAL).
        """
        self._check_vcpu(vcpu_id)
        if isinstance(self._delivery, Fifo):
            self._delivery.add_control_block(vcpu_id, gfn, offset)
            return
        fifo = Fifo(self._map_frame, self._vcpus, self._pollers)
        fifo.add_control_block(vcpu_id, gfn, offset)
        for channel in self._ports.channels[: self._delivery.capacity]:
            channel.pending = self._delivery.is_pending(channel)
            channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT
            channel.queue = (0, 0)
        self._delivery = fifo

    def expand_array(self, gfn: Gfn) -> None:
        """Add a page of event words; XenError(EOPNOTSUPP, EINVAL, ENOSPC)."""
        if not isinstance(self._delivery, Fifo):
            raise XenError(Errno.EOPNOTSUPP, "the domain does not use the FIFO ABI")
        ports = self._delivery.add_page(gfn)
        for channel in self._ports.channels[ports.start : ports.stop]:
            if channel.pending:
                channel.pending = False
                self._delivery.set_pending(channel)

    def reset(self) -> None:
        """Close every port and return to the 2-level ABI."""
        for channel in self._ports.channels:
            if channel.is_usable:
                self.close(channel.port)
        self._delivery = self._two_level()

    def latch_word(self, word: int) -> bool:
        """Have words of 4 or 8 bytes in the guest's shared info and vcpu_info from now on.

        Nothing is moved: a guest shows its word size before it looks at events. False, and nothing is done, if a
        port is in use that smaller bitmaps have no room for.
        """
        if any(channel.is_usable for channel in self._ports.channels[capacity(word) :]):
            return False
        self._word = word
        if isinstance(self._delivery, TwoLevel):
            self._delivery = self._two_level()
        return True

    def _two_level(self) -> TwoLevel:
        return TwoLevel(self._shared_info, self._vcpus, self._pollers, self._word)

    def raise_virq(self, virq: int, vcpu_id: int = 0) -> None:
        """Make a VIRQ pending; nothing happens while the guest has it bound to no port."""
        channel = self._virqs.get((virq, vcpu_id))
        if channel is not None:
            self._raise(channel)

    def connect_backend(self, notify: Notify) -> BackendPort:
        """Allocate a guest port whose other end is a backend in this process; XenError(ENOSPC).

        ``BackendPort.port`` is the guest's port.
        """
        return self.bind_backend(self.alloc_unbound(remote_domid=0), 0, notify)

    def bind_backend(self, port: int, remote_domid: int, notify: Notify) -> BackendPort:
        """Bind a backend of domain ``remote_domid`` to a port that the guest left unbound for it.

        ``notify`` is called for each send of the guest from now on; what it sent before was
        dropped, so a backend looks at its ring once after binding. XenError(EINVAL).
        """
        channel = self._unbound(port, remote_domid)
        self._backend_ports += 1
        channel.state = ChannelState.INTERDOMAIN
        channel.remote_port = self._backend_ports
        channel.notify = notify
        return BackendPort(channel, notify, self._raise, self._unbind)

    def start_poll(self, vcpu_id: int, ports: Sequence[int]) -> bool:
        """Return True if one of ``ports`` is pending, or else have the vCPU woken by the next.

        XenError(EINVAL) if a port before the first pending one is not bound.
        """
        for port in ports:
            channel = self._ports[port]
            if not channel.is_usable:
                raise XenError(Errno.EINVAL, f"port {port} is not bound")
            if self._delivery.is_pending(channel):
                return True
        self._pollers.waiting[vcpu_id] = ports[0] if len(ports) == 1 else None
        return False

    def stop_poll(self, vcpu_id: int) -> None:
        """Forget that a vCPU polls; harmless if it does not."""
        self._pollers.waiting.pop(vcpu_id, None)

    def vcpu_info_moved(self, vcpu_id: int) -> None:
        """Let a vCPU look at all its events, after ``info`` has come to be another place."""
        vcpu = self._vcpus[vcpu_id]
        if vcpu.info is not None:
            vcpu.info[selector(self._word)] = b"\xff" * self._word
            mark_upcall_pending(vcpu)

    def _bind(self, state: ChannelState) -> Channel:
        """Take a free port into use."""
        channel = self._ports.allocate(self._delivery)
        channel.state = state
        channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT
        return channel

    def _unbound(self, port: int, domid: int) -> Channel:
        """The channel of a port that waits for ``domid`` to bind it; XenError(EINVAL)."""
        channel = self._ports[port]
        if channel.state is not ChannelState.UNBOUND or channel.remote_domid != domid:
            raise XenError(Errno.EINVAL, f"port {port} does not wait for domain {domid}")
        return channel

    def _unbind(self, channel: Channel) -> None:
        """Make a port unbound whose other end was closed."""
        channel.state = ChannelState.UNBOUND
        channel.local_end = None
        channel.notify = None

    def _raise(self, channel: Channel) -> None:
        if self.observer is not None:
            self.observer.raised(channel, self._delivery)
        self._delivery.set_pending(channel)

    def _check_vcpu(self, vcpu_id: int) -> None:
        if vcpu_id >= len(self._vcpus):
            raise XenError(Errno.ENOENT, f"there is no vCPU {vcpu_id}")
