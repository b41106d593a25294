"""What `xl shutdown` and `xl reboot` have in common: asking guests, and waiting for them."""

from __future__ import annotations

import sys
from enum import Enum

from xenolith.cli.command import Options, UsageError
from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.toolstack.records import DomainEnd


class Request(Enum):
    """What a guest is asked to do: how it is announced, and the button that says the same."""

    SHUTDOWN = ("Shutting down", "power")
    REBOOT = ("Rebooting", "reset")

    def __init__(self, announcement: str, button: str) -> None:
        self.announcement = announcement
        self.button = button


def ask(request: Request, options: Options) -> int:
    """Ask the domains that the options name; return the exit status."""
    if bool(options.operands) == ("a" in options):
        raise UsageError("either -a or a domain is needed")
    with Toolstack.connect() as toolstack:
        if "a" in options:
            asked, status = _ask_all(toolstack, request, options)
        else:
            asked, status = [toolstack.resolve(options.operands[0])], 0
            _ask_one(toolstack, request, asked[0], options)
        if "w" in options:
            print(f"Waiting for {len(asked)} domains", file=sys.stderr)
            for domid in asked:
                print(_outcome(toolstack.wait(domid)), file=sys.stderr)
    return status


def _ask_all(toolstack: Toolstack, request: Request, options: Options) -> tuple[list[int], int]:
    """Ask every guest; return whom it could be asked of, and the exit status."""
    asked, status = [], 0
    for domain in toolstack.list():
        if domain.domid == 0:
            continue
        try:
            _ask_one(toolstack, request, domain.domid, options)
        except ToolstackError as error:
            # It may have ended just now; the others have not heard yet.
            print(f"Error: {error}", file=sys.stderr)
            status = 1
        else:
            asked.append(domain.domid)
    return asked, status


def _ask_one(toolstack: Toolstack, request: Request, domid: int, options: Options) -> None:
    print(f"{request.announcement} domain {domid}", file=sys.stderr)
    try:
        if request is Request.SHUTDOWN:
            toolstack.shutdown(domid)
        else:
            toolstack.reboot(domid)
    except ToolstackError:
        if "F" not in options:
            raise
        toolstack.trigger(domid, request.button)


def _outcome(end: DomainEnd) -> str:
    if end.reason is None:
        return f"Domain {end.domid} has been destroyed"
    return f"Domain {end.domid} has been shut down, reason code {end.reason}"
