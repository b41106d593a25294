"""Ethernet frames for tests, and the plain arithmetic that they are checked with."""

from __future__ import annotations

import socket
import struct

MAC_A, MAC_B = bytes.fromhex("00163e000001"), bytes.fromhex("00163e000002")
BROADCAST = b"\xff" * 6


def word_sum(data: bytes) -> int:
    """RFC 1071, as it is written there."""
    total = 0
    padded = data + b"\0" * (len(data) % 2)
    for at in range(0, len(padded), 2):
        total += padded[at] << 8 | padded[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _tcp(payload: bytes, flags: int, seq: int, options: bytes) -> bytes:
    offset = (20 + len(options)) // 4 << 4
    return (
        struct.pack(">HHIIBBHHH", 1000, 2000, seq, 7, offset, flags, 500, 0, 0) + options + payload
    )


def ipv4(protocol: int, body: bytes, *, options: bytes = b"", vlans: bytes = b"") -> bytes:
    header = bytearray(
        struct.pack(
            ">BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 20 + len(options) + len(body), 0xFFFF, 0x4000,
            64, protocol, 0, socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2"),
        )
    ) + options  # fmt: skip
    header[10:12] = (0xFFFF - word_sum(bytes(header))).to_bytes(2, "big")
    return MAC_B + MAC_A + vlans + b"\x08\x00" + bytes(header) + body


def ipv6(protocol: int, body: bytes, *, extensions: bytes = b"", following: int = 0) -> bytes:
    addresses = bytes(range(32))
    kind = following if extensions else protocol
    header = struct.pack(">IHBB", 6 << 28, len(extensions) + len(body), kind, 64) + addresses
    return MAC_B + MAC_A + b"\x86\xdd" + header + extensions + body


def tcp4(payload: bytes, *, flags: int = 0x18, seq: int = 1, options: bytes = b"") -> bytes:
    return ipv4(6, _tcp(payload, flags, seq, options))


def tcp6(payload: bytes, *, flags: int = 0x18, seq: int = 1, options: bytes = b"") -> bytes:
    return ipv6(6, _tcp(payload, flags, seq, options))


def udp4(payload: bytes) -> bytes:
    return ipv4(17, struct.pack(">HHHH", 53, 5353, 8 + len(payload), 0) + payload)


def transport_sum(frame: bytes) -> int:
    """The sum that a receiver computes: 0xFFFF if the checksum of a frame without extensions is right."""
    if frame[12:14] == b"\x08\x00":
        start = 14 + (frame[14] & 15) * 4
        end = 14 + int.from_bytes(frame[16:18], "big")
        pseudo = frame[26:34] + bytes([0, frame[23]])
    else:
        start, end = 54, 54 + int.from_bytes(frame[18:20], "big")
        pseudo = frame[22:54] + bytes([0, frame[20]])
    body = frame[start:end]
    return word_sum(pseudo + len(body).to_bytes(2, "big") + body)


def header_sum(frame: bytes) -> int:
    """0xFFFF if an IPv4 header's checksum is right."""
    return word_sum(frame[14 : 14 + (frame[14] & 15) * 4])


def with_pseudo_sum(frame: bytes) -> bytes:
    """The frame as a sender leaves it who offloads the checksum."""
    whole = bytearray(frame)
    if frame[12:14] == b"\x08\x00":
        start, pseudo = 14 + (frame[14] & 15) * 4, frame[26:34] + bytes([0, frame[23]])
    else:
        start, pseudo = 54, frame[22:54] + bytes([0, frame[20]])
    at = start + (16 if pseudo[-1] == 6 else 6)
    whole[at : at + 2] = word_sum(pseudo + (len(frame) - start).to_bytes(2, "big")).to_bytes(
        2, "big"
    )
    return bytes(whole)
