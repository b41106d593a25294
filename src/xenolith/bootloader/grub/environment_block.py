"""GRUB's environment block, the file grubenv: variables that survive a boot (grub-editenv(1))."""

from __future__ import annotations

SIZE = 1024
"""Bytes of the block; GRUB reads other sizes as well."""

_SIGNATURE = b"# GRUB Environment Block\n"


def parse_environment_block(data: bytes) -> dict[str, str]:
    """The variables of a block; none if it is not one."""
    if not data.startswith(_SIGNATURE):
        return {}
    variables: dict[str, str] = {}
    line = bytearray()
    escaped = False
    for byte in data[len(_SIGNATURE) :]:
        if escaped:
            line.append(byte)
            escaped = False
        elif byte == ord("\\"):
            escaped = True
        elif byte == ord("\n"):
            _store(bytes(line), variables)
            line.clear()
        else:
            line.append(byte)
    return variables


def _store(line: bytes, variables: dict[str, str]) -> None:
    name, equals, value = line.decode(errors="replace").partition("=")
    if equals and not name.startswith("#"):
        variables[name] = value
