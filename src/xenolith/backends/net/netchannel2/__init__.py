"""netchannel2, the second protocol of network interfaces (io/netchannel2.h of Xen 4.0's Linux trees).

A device of class vif2 speaks it: ``Vif2Backend``. Where netif has slots, it has a pair of byte rings with
messages; a packet's first bytes travel in its message, the others in granted pages that the receiver
copies from, in both directions.
"""

from xenolith.backends.net.netchannel2.backend import Vif2Backend

__all__ = ["Vif2Backend"]
