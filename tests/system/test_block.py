"""Disks in real guests: Debian's own blkfront reads, writes, mounts, and has disks come and go."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenolith.storage.file import ImageFile
from xenolith.storage.open import image_from, open_image

from .host import READY, Host, eventually, kill, read_until
from .terminal import Terminal
from .test_faults import fill, small_file_system

pytestmark = pytest.mark.guest

MIB = 1 << 20
SIZE = 64 * MIB
QUIET = "loglevel=3"
"""The kernel's messages do not come between the answers of the shell."""


def raw_image(path: Path, size: int = SIZE, content: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)
    return path


def vhd_image(path: Path, size: int = SIZE) -> Path:
    vhd = [sys.executable, "-m", "xenolith.cli.vhd", "create", str(path), str(size)]
    subprocess.run(vhd, check=True)
    return path


def digest(path: Path, image_format: str, offset: int, length: int) -> str:
    """The MD5 of a part of an image, read by ourselves, be it in use."""
    image = image_from([ImageFile(os.open(path, os.O_RDONLY), str(path))], image_format, False)
    try:
        data = bytearray(length)
        image.readv([memoryview(data)], offset)
        return hashlib.md5(data).hexdigest()
    finally:
        image.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Path:
    return tmp_path_factory.mktemp(f"images-{kind}")


@pytest.fixture(scope="module")
def guest(shared_host: Host, images: Path, kind: str) -> Iterator[Terminal]:
    """The shell of a guest with a raw disk, a VHD, a drive without a medium and a read-only disk."""
    disks = [
        f"{raw_image(images / 'raw.img', content=os.urandom(4 * MIB))},raw,xvda,w",
        f"format=vhd,vdev=xvdb,access=rw,target={vhd_image(images / 'disk.vhd')}",
        "vdev=xvdc,devtype=cdrom,access=ro,format=raw,target=",
        f"{raw_image(images / 'ro.img', content=b'read me')},raw,xvdd,r",
    ]
    config = shared_host.config("disks", type=kind, extra=QUIET, vcpus=2, disk=disks)
    shared_host.xl("create", config)
    with shared_host.terminal("console", "disks") as terminal:
        terminal.wait_for(b"# ")
        yield terminal
    shared_host.xl("destroy", "disks")


def md5(guest: Terminal, command: str) -> str:
    return guest.run(f"{command} 2>/dev/null | md5sum", timeout=60).split()[0]


def disk_size(guest: Terminal, name: str) -> int:
    """Bytes of a disk as the guest sees it; -1 where there is none."""
    text = guest.run(f"cat /sys/block/{name}/size 2>/dev/null").strip()
    return int(text) * 512 if text else -1


@pytest.mark.parametrize(
    ("disk", "file", "image_format"), [("xvda", "raw.img", "raw"), ("xvdb", "disk.vhd", "vhd")]
)
def test_what_a_guest_writes_is_in_the_image_and_reads_back(
    guest: Terminal, images: Path, disk: str, file: str, image_format: str
) -> None:
    assert disk_size(guest, disk) == SIZE
    guest.run("[ -e /tmp/data ] || head -c 8388608 /dev/urandom > /tmp/data", timeout=60)
    wanted = md5(guest, "cat /tmp/data")
    guest.run(f"dd if=/tmp/data of=/dev/{disk} bs=1M seek=16 conv=fsync", timeout=60)
    assert digest(images / file, image_format, 16 * MIB, 8 * MIB) == wanted
    guest.run("echo 3 > /proc/sys/vm/drop_caches")
    assert md5(guest, f"dd if=/dev/{disk} bs=1M skip=16 count=8") == wanted
    if image_format == "raw":
        assert md5(guest, f"dd if=/dev/{disk} bs=64k count=64") == digest(
            images / file, "raw", 0, 4 * MIB
        )


@pytest.mark.parametrize("disk", ["xvda", "xvdb"])
def test_a_file_system_is_made_mounted_and_sound(guest: Terminal, disk: str) -> None:
    guest.run(f"mke2fs -q /dev/{disk}; mkdir -p /mnt; mount -t ext4 /dev/{disk} /mnt", timeout=60)
    guest.run("for n in 1 2 3; do head -c 3000000 /dev/urandom > /mnt/$n; done", timeout=60)
    before = md5(guest, "cat /mnt/1 /mnt/2 /mnt/3")
    guest.run(f"umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/{disk} /mnt")
    assert md5(guest, "cat /mnt/1 /mnt/2 /mnt/3") == before
    guest.run("umount /mnt")
    assert "I/O error" not in guest.run("dmesg")


def test_a_discard_frees_space_on_the_host(guest: Terminal, images: Path) -> None:
    guest.run("dd if=/tmp/data of=/dev/xvda bs=1M seek=40 conv=fsync", timeout=60)
    before = (images / "raw.img").stat().st_blocks
    assert int(guest.run("cat /sys/block/xvda/queue/discard_max_bytes")) > 0
    guest.run("blkdiscard -o 41943040 -l 8388608 /dev/xvda")
    assert before - (images / "raw.img").stat().st_blocks >= 8 * MIB // 512 - 16
    assert set(
        guest.run("dd if=/dev/xvda bs=1M skip=40 count=1 2>/dev/null | tr -d '\\0' | wc -c")
    ) == {
        "0",
        "\n",
    }


def test_a_read_only_disk_cannot_be_written(guest: Terminal) -> None:
    assert guest.run("head -c 7 /dev/xvdd; echo") == "read me\n"
    assert guest.run("cat /sys/block/xvdd/ro") == "1\n"
    assert "Operation not permitted" in guest.run("echo x > /dev/xvdd")


def test_a_medium_is_inserted_changed_and_ejected(
    shared_host: Host, guest: Terminal, images: Path
) -> None:
    assert disk_size(guest, "xvdc") == 0
    for name, size in (("one", 2 * MIB), ("two", 3 * MIB)):
        iso = raw_image(images / f"{name}.iso", size, name.encode())
        shared_host.xl("cd-insert", "disks", "xvdc", iso)
        eventually(lambda size=size: disk_size(guest, "xvdc") == size)  # type: ignore[misc]
        assert (
            guest.run("echo 3 > /proc/sys/vm/drop_caches; head -c 3 /dev/xvdc; echo") == f"{name}\n"
        )
    shared_host.xl("cd-eject", "disks", "xvdc")
    eventually(lambda: disk_size(guest, "xvdc") == 0)
    refused = shared_host.try_xl("cd-insert", "disks", "xvda", images / "one.iso")
    assert refused.returncode == 1
    assert "no drive" in refused.stderr


def plug_and_unplug(host: Host, guest: Terminal, images: Path, times: int) -> None:
    image = raw_image(images / "plug.img", 8 * MIB, b"plugged")
    for _ in range(times):
        host.xl("block-attach", "disks", f"{image},raw,xvdp,w")
        eventually(lambda: disk_size(guest, "xvdp") == 8 * MIB)
        assert guest.run("head -c 7 /dev/xvdp; echo") == "plugged\n"
        host.xl("block-detach", "disks", "xvdp")
        eventually(lambda: disk_size(guest, "xvdp") == -1)


def open_files(host: Host) -> tuple[int, int]:
    """Descriptors of the domain's process and of the daemon."""
    pids = (host.domain_pid("disks"), host.daemon_pid())
    domain, daemon = (len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
    return domain, daemon


def nodes(host: Host) -> list[str]:
    return host.xenstore("xenstore-ls", "-f").stdout.splitlines()


def test_disks_are_plugged_and_unplugged_without_leak(
    shared_host: Host, guest: Terminal, images: Path
) -> None:
    plug_and_unplug(shared_host, guest, images, 1)
    before = open_files(shared_host), len(nodes(shared_host))
    plug_and_unplug(shared_host, guest, images, 4)
    assert (open_files(shared_host), len(nodes(shared_host))) == before
    # The image is free.
    open_image(images / "plug.img", "raw", writable=True).close()


@pytest.mark.slow
def test_disks_are_plugged_and_unplugged_a_hundred_times(
    shared_host: Host, guest: Terminal, images: Path
) -> None:
    def resident_kib() -> int:
        text = Path(f"/proc/{shared_host.domain_pid('disks')}/status").read_text()
        match = re.search(r"RssAnon:\s+(\d+)", text)
        assert match is not None
        return int(match[1])

    plug_and_unplug(shared_host, guest, images, 10)
    before, files = resident_kib(), open_files(shared_host)
    plug_and_unplug(shared_host, guest, images, 90)
    assert open_files(shared_host) == files
    assert resident_kib() - before < 2048
    # What Linux says of grants that the backend has not given back, among other things.
    assert guest.run("dmesg | grep -cE 'still pending|leaking|WARNING'").split() == ["0"]


def test_a_disk_that_the_guest_does_not_let_go_stays_until_it_does(
    shared_host: Host, guest: Terminal, images: Path
) -> None:
    image = raw_image(images / "busy.img", 8 * MIB)
    for force in ((), ("--force",)):
        shared_host.xl("block-attach", "disks", f"{image},raw,xvdq,w")
        eventually(lambda: disk_size(guest, "xvdq") == 8 * MIB)
        shared_host.xl("pause", "disks")
        if force:
            shared_host.xl("block-detach", *force, "disks", "xvdq")
        else:
            refused = shared_host.try_xl("block-detach", "disks", "xvdq")
            assert refused.returncode == 1
            assert "has not let go" in refused.stderr
        shared_host.xl("unpause", "disks")
        eventually(lambda: disk_size(guest, "xvdq") == -1)
        eventually(lambda: len(shared_host.xl("block-list", "disks").splitlines()) == 5)
        open_image(image, "raw", writable=True).close()


def test_a_mounted_disk_that_is_detached_gives_errors_to_the_guest_alone(
    shared_host: Host, guest: Terminal, images: Path
) -> None:
    image = raw_image(images / "mounted.img", 8 * MIB)
    shared_host.xl("block-attach", "disks", f"{image},raw,xvdt,w")
    eventually(lambda: disk_size(guest, "xvdt") == 8 * MIB)
    guest.run("mke2fs -q /dev/xvdt; mkdir -p /gone; mount -t ext4 /dev/xvdt /gone", timeout=60)
    shared_host.xl("block-detach", "--force", "disks", "xvdt")
    open_image(image, "raw", writable=True).close()
    assert guest.run("echo x > /gone/file; sync; umount -l /gone; echo alive").endswith("alive\n")


def test_an_image_in_use_is_refused_and_nothing_stays(
    shared_host: Host, guest: Terminal, images: Path
) -> None:
    before = nodes(shared_host)
    for disk, why in (
        (f"{images / 'raw.img'},raw,xvdr,w", "in use"),
        (f"{images / 'missing.img'},raw,xvdr,w", "No such file"),
        (f"{images / 'ro.img'},vhd,xvdr,r", "VHD"),
        (f"{images / 'plug.img'},raw,xvda,w", "already"),
        (f"{images / 'plug.img'},raw,floppy,w", "not the name"),
    ):
        refused = shared_host.try_xl("block-attach", "disks", disk)
        assert refused.returncode == 1, disk
        assert why.lower() in refused.stderr.lower(), refused.stderr
    assert nodes(shared_host) == before
    refused = shared_host.try_xl(
        "create", shared_host.config("second", disk=[f"{images / 'raw.img'},raw,xvda,w"])
    )
    assert refused.returncode == 1
    assert "raw.img is in use" in refused.stderr
    assert "second" not in shared_host.names()


def test_the_list_of_disks_is_xls(shared_host: Host, guest: Terminal) -> None:
    lines = shared_host.xl("block-list", "disks").splitlines()
    assert lines[0] == "Vdev  BE  handle state evt-ch ring-ref BE-path                       "
    domid = shared_host.row("disks").domid
    assert [line.split()[0] for line in lines[1:]] == ["51712", "51728", "51744", "51760"]
    fields = lines[1].split()
    assert fields[1:4] == ["0", str(domid), "4"]
    assert fields[6] == f"/local/domain/0/backend/vbd/{domid}/51712"
    listed = json.loads(shared_host.xl("block-list", "--json", "disks"))
    assert listed[0]["event_channel"] == int(fields[4])


def test_a_guest_sees_its_disk_grow(shared_host: Host, guest: Terminal, images: Path) -> None:
    image = raw_image(images / "grows.img", 8 * MIB)
    shared_host.xl("block-attach", "disks", f"{image},raw,xvds,w")
    eventually(lambda: disk_size(guest, "xvds") == 8 * MIB)
    raw_image(image, 12 * MIB)
    shared_host.xl("block-resize", "disks", "xvds")
    eventually(lambda: disk_size(guest, "xvds") == 12 * MIB)
    assert guest.run(
        "dd if=/dev/zero of=/dev/xvds bs=1M seek=11 count=1 conv=fsync; echo $?"
    ).endswith("0\n")
    shared_host.xl("block-detach", "disks", "xvds")


def test_disks_go_on_when_the_daemon_is_replaced(own_host: Host, tmp_path: Path) -> None:
    image = raw_image(tmp_path / "raw.img", 8 * MIB)
    other = raw_image(tmp_path / "other.img", 4 * MIB)
    own_host.xl("create", own_host.config("web", extra=QUIET, disk=[f"{image},raw,xvda,w"]))
    with own_host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        guest.run("dd if=/dev/urandom of=/dev/xvda bs=64k count=8 conv=fsync")
        wanted = md5(guest, "dd if=/dev/xvda bs=64k count=8")
        kill(own_host.daemon_pid())
        guest.run("echo 3 > /proc/sys/vm/drop_caches")
        assert md5(guest, "dd if=/dev/xvda bs=64k count=8") == wanted
        assert own_host.names() == {"web"}
        own_host.xl("block-attach", "web", f"{other},raw,xvdb,w")
        eventually(lambda: disk_size(guest, "xvdb") == 4 * MIB)
        own_host.xl("block-detach", "web", "xvda")
        eventually(lambda: disk_size(guest, "xvda") == -1)
    own_host.xl("destroy", "web")


def test_a_disk_is_let_go_under_the_next_daemon(own_host: Host, tmp_path: Path) -> None:
    image = raw_image(tmp_path / "raw.img", 8 * MIB)
    own_host.xl("create", own_host.config("web", extra=QUIET, disk=[f"{image},raw,xvda,w"]))
    with own_host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        own_host.xl("pause", "web")
        assert own_host.try_xl("block-detach", "web", "xvda").returncode == 1
        kill(own_host.daemon_pid())
        own_host.xl("unpause", "web")
        eventually(lambda: disk_size(guest, "xvda") == -1)
    eventually(lambda: len(own_host.xl("block-list", "web").splitlines()) == 1)
    open_image(image, "raw", writable=True).close()


def test_a_rebooted_guest_has_its_disks_again(shared_host: Host, tmp_path: Path) -> None:
    first = raw_image(tmp_path / "first.img", 4 * MIB)
    second = raw_image(tmp_path / "second.img", 8 * MIB)
    shared_host.xl("create", shared_host.config("web", extra=QUIET, disk=[f"{first},raw,xvda,w"]))
    with shared_host.running_xl("console", "web") as console:
        read_until(console, READY)
    shared_host.xl("block-attach", "web", f"{second},raw,xvdb,w")
    domid = shared_host.row("web").domid
    shared_host.xl("reboot", "web")
    eventually(lambda: "web" in shared_host.names() and shared_host.row("web").domid > domid)
    with shared_host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        assert disk_size(guest, "xvda") == 4 * MIB
        assert disk_size(guest, "xvdb") == 8 * MIB
    shared_host.xl("destroy", "web")
    for image in (first, second):
        open_image(image, "raw", writable=True).close()


def test_a_full_host_holds_the_guest_until_there_is_room(own_host: Host, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    with small_file_system(place, "8m"):
        image = raw_image(place / "raw.img", 32 * MIB)
        own_host.xl("create", own_host.config("web", extra=QUIET, disk=[f"{image},raw,xvda,w"]))
        with own_host.terminal("console", "web") as guest:
            guest.wait_for(b"# ")
            guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=3")
            fill(place / "ballast")
            guest.type(b"dd if=/tmp/data of=/dev/xvda bs=1M seek=8 conv=fsync; echo wrote: $?\n")
            eventually(lambda: "p" in own_host.row("web").state, own_host.list)
            assert "no space is left on the host" in own_host.xl("dmesg")
            # Nothing has changed: it is held again.
            own_host.xl("unpause", "web")
            eventually(lambda: "p" in own_host.row("web").state, own_host.list)
            (place / "ballast").unlink()
            own_host.xl("unpause", "web")
            guest.wait_for(b"wrote: 0")
            assert "I/O error" not in guest.run("dmesg")
            wanted = md5(guest, "cat /tmp/data")
            assert md5(guest, "dd if=/dev/xvda bs=1M skip=8 count=3") == wanted
        own_host.xl("destroy", "web")
        assert digest(image, "raw", 8 * MIB, 3 * MIB) == wanted
