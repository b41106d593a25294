"""The fixed ports of our hardware-reduced ACPI machine: what the FADT announces and a vCPU answers.

A PVH domain of Xen has no ACPI way to power itself off; Linux then halts, and the toolstack never learns of it.
"""

from __future__ import annotations

SLEEP_CONTROL_PORT = 0xB044
SLEEP_STATUS_PORT = 0xB045
RESET_PORT = 0xB046

SLEEP_ENABLE = 1 << 5
SLEEP_TYPE_S5 = 5
RESET_VALUE = 1
