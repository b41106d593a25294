"""Names and numbers of virtual disks, as in xen-vbd-interface(7).

The number is a disk's device id; libxl__device_disk_dev_number reads it in the same ways.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"(xvd|sd|hd)([a-z]{1,4})(\d{0,3})")
_NUMBERED = re.compile(r"d(\d{1,7})(?:p(\d{1,3}))?")
_NUMBER = re.compile(r"0x[0-9a-f]{1,8}|\d{1,10}")

_XVD_MAJOR, _SD_MAJOR, _IDE_MAJORS = 202, 8, (3, 22)
_EXTENDED = 1 << 28
_MAX_DISK, _MAX_PARTITION = (1 << 20) - 1, 255


def device_number(vdev: str) -> int:
    """The device id that ``xvda1``, ``d0p1``, ``hda``, ``51713`` stand for; ValueError."""
    if match := _NAME.fullmatch(vdev):
        kind, letters, digits = match.groups()
        number = _number(kind, _disk_index(letters), int(digits or 0))
    elif match := _NUMBERED.fullmatch(vdev):
        number = _number("xvd", int(match[1]), int(match[2] or 0))
    elif _NUMBER.fullmatch(vdev):
        number = int(vdev, 0 if vdev.startswith("0x") else 10)
    else:
        number = None
    if number is None or number >= 1 << 31:
        raise ValueError(f"'{vdev}' is not the name of a virtual disk, such as xvda")
    return number


def _number(kind: str, disk: int, partition: int) -> int | None:
    if kind == "xvd" and disk <= _MAX_DISK and partition <= _MAX_PARTITION:
        if disk <= 15 and partition <= 15:
            return _XVD_MAJOR << 8 | disk << 4 | partition
        return _EXTENDED | disk << 8 | partition
    if kind == "sd" and disk <= 15 and partition <= 15:
        return _SD_MAJOR << 8 | disk << 4 | partition
    if kind == "hd" and disk <= 3 and partition <= 63:
        return _IDE_MAJORS[disk >> 1] << 8 | (disk & 1) << 6 | partition
    return None


def _disk_index(letters: str) -> int:
    """a is 0, z 25, aa 26."""
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("a") + 1
    return index - 1
