"""What a guest has printed before somebody came to its console, as it may be shown to a terminal.

Programs ask terminals questions by printing control sequences (ECMA-48; xterm's ctlseqs). A terminal
that is shown old ones answers again, and the guest would take the answer for something typed.
"""

from __future__ import annotations

import re

_QUERY = re.compile(
    rb"\x1b\[\??[56]n"  # DSR: status, where the cursor is
    rb"|\x1b\[[>=]?0?c"  # DA: what terminal it is
    rb"|\x1b\[>0?q"  # XTVERSION
    rb"|\x1b\[(?:1[1-9]|2[01])t"  # sizes, in whichever unit
    rb"|\x1b\[\??\d+\$p"  # DECRQM: modes
    rb"|\x1b\]\d+(?:;\d+)?;\?(?:\x07|\x1b\\)"  # colours
    rb"|\x1bP[+$]q[^\x1b\x07]{0,200}\x1b\\"  # XTGETTCAP, DECRQSS
)
_BEGUN = re.compile(
    rb"\x1b(?:\[[0-9?>=;$]*|\][0-9;?]*\x1b?|P[+$]?(?:q[^\x1b\x07]{0,200})?\x1b?)?\Z"
)
_LONGEST = 256


class History:
    """Takes the questions out of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._begun = b""

    def pass_on(self, data: bytes) -> bytes:
        """What can be shown by now: without questions, and without what may become one."""
        data = _QUERY.sub(b"", self._begun + data)
        begun = _BEGUN.search(data, max(0, len(data) - _LONGEST))
        end = begun.start() if begun else len(data)
        self._begun = data[end:]
        return data[:end]

    def end(self) -> bytes:
        """What was kept back; no more of it will come."""
        rest, self._begun = self._begun, b""
        return rest
