"""The user data by which the user of this machine gets into a Debian of ours: by ssh key, or by password.

https://docs.cloud-init.io/en/latest/reference/examples.html shows what user data can say.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

from xenolith.builder.errors import BuildError

USER = "debian"
"""As on Debian's own cloud images."""


def user_data(hostname: str, keys: list[str], password: str) -> bytes:
    """User data for a guest with one user, who may become root without being asked.

    ``keys`` are lines of an authorized_keys; the password is for the console, ssh takes none.
    """
    settings = {
        "hostname": hostname,
        "ssh_pwauth": False,
        "users": [
            {
                "name": USER,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": False,
                "plain_text_passwd": password,
                "ssh_authorized_keys": keys,
            }
        ],
    }
    # JSON is YAML.
    return b"#cloud-config\n" + json.dumps(settings, indent=2).encode() + b"\n"


def new_password() -> str:
    """A password that is easy to type and hard to guess."""
    return secrets.token_hex(4)


def public_keys(home: Path) -> list[str]:
    """The user's own public ssh keys."""
    return [path.read_text().strip() for path in sorted(home.glob(".ssh/id_*.pub"))]


def new_key(path: Path) -> str:
    """Make a key pair at ``path``, unless it is there; its public half. BuildError."""
    if not path.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "xenolith", "-f", str(path)]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BuildError(
                "there is no ssh key in ~/.ssh, and ssh-keygen (package openssh-client) made none"
            ) from error
    return path.with_name(f"{path.name}.pub").read_text().strip()
