"""Event channels: how the guest, its vCPUs and the backends notify each other."""

from xenolith.hypervisor.event_channel.backend import BackendPort
from xenolith.hypervisor.event_channel.delivery import UpcallTarget
from xenolith.hypervisor.event_channel.hypercall import event_channel_op
from xenolith.hypervisor.event_channel.observer import EventObserver
from xenolith.hypervisor.event_channel.table import EventChannelTable

__all__ = [
    "BackendPort",
    "EventChannelTable",
    "EventObserver",
    "UpcallTarget",
    "event_channel_op",
]
