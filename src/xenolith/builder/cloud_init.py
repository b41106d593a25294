"""NoCloud seeds: a disk of two files that tells cloud-init in a guest who it is to be.

https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html defines them.
"""

from __future__ import annotations

import hashlib
import json

from xenolith.builder.errors import BuildError
from xenolith.builder.iso9660 import iso9660

LABEL = "cidata"
MAX_USER_DATA = 1 << 20
"""Bytes: cloud providers take 16 KiB to 64 KiB."""

_KINDS = (
    b"#cloud-config",
    b"#!",
    b"#include",
    b"#cloud-boothook",
    b"#part-handler",
    b"## template:",
    b"Content-Type:",
    b"MIME-Version:",
)
"""What user data begins with; cloud-init ignores all else without a word to anybody."""


def nocloud_seed(user_data: bytes, hostname: str) -> bytes:
    """The image of a seed for a guest, whose host name is this unless the user data say otherwise.

    The same arguments are the same instance to cloud-init, which sets up each only once. BuildError
    if cloud-init would not understand the user data.
    """
    if len(user_data) > MAX_USER_DATA:
        raise BuildError(f"user data of {len(user_data)} bytes, {MAX_USER_DATA} at most")
    if not user_data.lstrip(b"\xef\xbb\xbf").startswith(_KINDS):
        raise BuildError("user data begin with a line '#cloud-config', or '#!' for a script")
    identity = hashlib.sha256(hostname.encode() + b"\0" + user_data).hexdigest()[:16]
    # JSON is YAML, and needs no thought about quotes.
    meta_data = {"instance-id": f"iid-{identity}", "local-hostname": hostname}
    files = {"user-data": user_data, "meta-data": json.dumps(meta_data).encode() + b"\n"}
    return iso9660(LABEL, files)
