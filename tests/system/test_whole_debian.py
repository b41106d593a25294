"""A whole Debian from `make debian`: booted, entered by ssh, kept, and shut down."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from xenolith.storage.snapshot import snapshot

from .host import Host, eventually

pytestmark = [
    pytest.mark.guest,
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in ("mmdebstrap", "passt", "ssh")),
        reason="needs mmdebstrap, passt and ssh",
    ),
]

BOOT_S = 900


@pytest.fixture(scope="module")
def debian_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make debian` lays out; the image itself is made once and kept in the user's cache."""
    directory = tmp_path_factory.mktemp("debian")
    command = [sys.executable, "-m", "xenolith.cli.debian", "--link-into", str(directory)]
    # A key of its own, whatever the user has.
    subprocess.run(command, env={**os.environ, **_cache(), "HOME": str(directory)}, check=True)
    return directory


def _cache() -> dict[str, str]:
    base = os.environ.get("XENOLITH_CACHE_DIR") or str(Path.home() / ".cache" / "xenolith")
    return {"XENOLITH_CACHE_DIR": base}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ssh(files: Path, port: int, command: str) -> str:
    options = {
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "BatchMode": "yes",
        "ConnectTimeout": "30",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    where = ["-q", "-i", str(files / "id_ed25519"), "-p", str(port), "debian@127.0.0.1"]
    run = subprocess.run(
        ["ssh", *settings, *where, command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.strip()


def create(host: Host, files: Path, name: str, kind: str, disk: Path) -> int:
    """Create a domain and wait until its user is there; the port that leads to its ssh."""
    port = free_port()
    config = host.config(
        name,
        type=kind,
        extra="root=LABEL=debian ro quiet systemd.show_status=true",
        kernel=str(files / "vmlinuz"),
        ramdisk=str(files / "initramfs"),
        memory=1024,
        vcpus=1,
        maxvcpus=2,
        disk=[f"format=vhd,vdev=xvda,access=rw,target={disk}"],
        vif=[f"type=user,forward=tcp:127.0.0.1:{port}:22"],
        cloud_init=str(files / "user-data.yaml"),
    )
    host.xl("create", config)
    with host.terminal("console", name) as console:
        console.wait_for(b"login:", timeout=BOOT_S)
        console.wait_for(b" finished at ", timeout=BOOT_S)
    return port


@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_it_is_entered_by_ssh_and_its_disk_is_cloned(
    host: Host, debian_files: Path, kind: str
) -> None:
    disk = debian_files / "disk.vhd"
    mine, kept, clone = (debian_files / f"{kind}-{name}.vhd" for name in ("disk", "kept", "clone"))
    snapshot(disk, "vhd", mine)
    port = create(host, debian_files, "whole", kind, mine)
    assert ssh(debian_files, port, "hostname; cat /sys/hypervisor/type") == "debian\nxen"
    assert ssh(debian_files, port, "systemctl is-system-running --wait") == "running"
    assert ssh(debian_files, port, "sudo id -u; findmnt -no SOURCE /") == "0\n/dev/xvda"
    assert ssh(debian_files, port, "nproc") == "1"
    host.xl("vcpu-set", "--ignore-host", "whole", 2)
    eventually(lambda: ssh(debian_files, port, "nproc") == "2", timeout=60)
    ssh(debian_files, port, "echo kept > state; sync")
    host.xl("block-snapshot", "whole", "xvda", kept)
    ssh(debian_files, port, "echo gone on > state; sync")
    host.xl("shutdown", "-w", "whole", timeout=300)
    snapshot(kept, "vhd", clone)
    port = create(host, debian_files, "clone", kind, clone)
    assert ssh(debian_files, port, "cat state") == "kept"
