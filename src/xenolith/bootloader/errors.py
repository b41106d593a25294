"""The error of this package."""


class BootError(Exception):
    """There is nothing to boot; the message is one sentence without full stop, in printable text."""

    def __init__(self, message: str) -> None:
        # Names come out of the guest's disk, and messages go to terminals.
        super().__init__("".join(char if char.isprintable() else "?" for char in message)[:500])
