"""The key cloud_init: a domain's user data become a seed, which is one more disk of the domain.

The seed is made when the domain is created and stays for its restarts, whatever becomes of the file
with the user data. docs/how-to/debian.md tells what a guest makes of it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import string
import tempfile

from xenolith.builder.cloud_init import MAX_USER_DATA, nocloud_seed
from xenolith.builder.errors import BuildError
from xenolith.toolstack import paths
from xenolith.toolstack.config.disk import DiskConfig
from xenolith.toolstack.config.domain_config import DomainConfig


def with_seed(config: DomainConfig) -> DomainConfig:
    """A domain with the disk that its user data ask for; BuildError, OSError.

    A configuration that has gone through this already has the disk, and stays as it is.
    """
    if config.cloud_init is None:
        return config
    seed = _path(config.name)
    if any(disk.target == seed for disk in config.disk):
        return config
    with open(config.cloud_init, "rb") as file:
        user_data = file.read(MAX_USER_DATA + 1)
    try:
        image = nocloud_seed(user_data, config.name)
    except BuildError as error:
        raise BuildError(f"{config.cloud_init}: {error}") from None
    _write(seed, image)
    disk = DiskConfig(vdev=_free_vdev(config), target=seed, writable=False)
    return dataclasses.replace(config, disk=(*config.disk, disk))


def _path(name: str) -> str:
    return os.path.join(paths.state_dir(), "cloud-init", f"{name}.iso")


def _write(path: str, image: bytes) -> None:
    """Put the seed in place, for this user only: user data may hold passwords."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    # A domain of that name may still be reading the one before.
    descriptor, temporary = tempfile.mkstemp(dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _free_vdev(config: DomainConfig) -> str:
    """The first of xvda to xvdz that no disk of the domain has."""
    # Linux calls an hda or sda xvda, too.
    names = (re.match(r"(?:xvd|hd|sd)([a-z])", disk.vdev) for disk in config.disk)
    taken = {name[1] for name in names if name}
    for letter in string.ascii_lowercase:
        if letter not in taken:
            return f"xvd{letter}"
    raise BuildError("no name from xvda to xvdz is left for the disk of cloud_init")
