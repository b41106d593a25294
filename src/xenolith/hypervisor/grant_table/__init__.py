"""Grant tables: how a domain lets backends, and itself, use frames of its memory."""

from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.hypercall import grant_table_op
from xenolith.hypervisor.grant_table.mapping import GrantMapping
from xenolith.hypervisor.grant_table.memory import GrantMemory
from xenolith.hypervisor.grant_table.table import GrantTable

__all__ = ["GrantError", "GrantMapping", "GrantMemory", "GrantTable", "grant_table_op"]
