"""Networks for guests: a switch, user-mode networking, taps, packet captures. Knows nothing of Xen."""
