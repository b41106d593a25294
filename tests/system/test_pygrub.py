"""Debian's kernel out of guests' own disks, found by pygrub: by default, by menu, after a change."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootloader import images

from .host import GUEST, READY, Host, eventually, kill, read_until
from .terminal import ESCAPE, Terminal

pytestmark = pytest.mark.guest

DOWN, ENTER = b"\x1b[B", b"\r"
QUIET = "loglevel=3"
"""The kernel's messages do not come between the answers of the shell."""

GRUB_CFG = """\
set default="0"
if [ -s $prefix/grubenv ]; then load_env; fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
set timeout=30
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	insmod part_msdos
	set root='hd0,msdos5'
	search --no-floppy --fs-uuid --set=root 00000000-0000-0000-0000-000000000000
	echo	'Loading Linux ...'
	linux	/boot/vmlinuz root=/dev/xvda5 ro entry=default
	initrd	/boot/initrd.img
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux (recovery mode)' $menuentry_id_option 'gnulinux-recovery-1' {
		linux	/boot/vmlinuz root=/dev/xvda5 ro single entry=recovery
		initrd	/boot/initrd.img
	}
}
"""

TABLE = "label: dos\nstart=2048, size=4096, type=83\nstart=8192, size=264192, type=5\n"
TABLE += "start=10240, size=262144, type=83\n"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with an ext4 in a logical partition, and in that what Debian's has in /boot."""
    directory = tmp_path_factory.mktemp("pygrub")
    tree = {
        "boot/vmlinuz": (GUEST / "cloud" / "vmlinuz").read_bytes(),
        "boot/initrd.img": (GUEST / "cloud" / "initramfs").read_bytes(),
        "boot/grub/grub.cfg": GRUB_CFG.encode(),
    }
    size = 128 * images.MIB
    volume = directory / "ext4.img"
    mke2fs = images.program("mke2fs", "e2fsprogs")
    planted = images.plant(directory / "tree", tree)
    images.run(mke2fs, "-q", "-F", "-t", "ext4", "-d", planted, images.sized(volume, size))
    return images.partitioned(directory / "disk.img", TABLE, {10240: volume})


@pytest.fixture
def disk(pristine: Path, tmp_path: Path) -> Iterator[str]:
    """A copy of it, as xl.cfg has disks."""
    copy = tmp_path / "disk.img"
    images.run("cp", "--sparse=always", pristine, copy)
    yield f"{copy},raw,xvda,w"
    copy.unlink()


def config(host: Host, name: str, disk: str, kind: str = "pvh") -> Path:
    """A domain that has neither kernel nor ramdisk but what its disk holds."""
    path = host.config(name, disk=[disk], bootloader="pygrub", type=kind, extra=QUIET)
    keys = ("kernel", "ramdisk")
    lines = [line for line in path.read_text().splitlines(True) if not line.startswith(keys)]
    path.write_text("".join(lines))
    return path


def command_line(terminal: Terminal) -> str:
    terminal.wait_for(b"# ", timeout=60)
    return terminal.run("cat /proc/cmdline").strip()


@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_the_default_entry_boots_without_waiting(host: Host, disk: str, kind: str) -> None:
    # Without a terminal, nobody could choose.
    with host.running_xl("create", "-q", "-F", "-c", config(host, "grubby", disk, kind)) as xl:
        read_until(xl, READY)
        with host.terminal("console", "grubby") as console:
            assert command_line(console).startswith("root=/dev/xvda5 ro entry=default console=hvc0")


@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_another_entry_is_chosen_in_the_menu(host: Host, disk: str, kind: str) -> None:
    with host.terminal("create", "-c", config(host, "chosen", disk, kind)) as terminal:
        terminal.wait_for(b"The entry marked * boots in")
        seen = terminal.wait_for(b"* Debian GNU/Linux")
        assert b"recovery" not in seen
        terminal.type(DOWN + ENTER)
        terminal.wait_for(b"Debian GNU/Linux (recovery mode)")
        terminal.type(ENTER)
        assert "single entry=recovery console=hvc0" in command_line(terminal)
        assert terminal.leave() == 0
        assert terminal.attributes() == terminal.initial_attributes


def test_a_command_line_is_edited(host: Host, disk: str) -> None:
    with host.terminal("create", "-c", config(host, "edited", disk)) as terminal:
        terminal.wait_for(b"The entry marked * boots in")
        terminal.type(b"e")
        terminal.wait_for(b"entry=default")
        terminal.type(b"\x7f" * len("default") + b"mine" + ENTER)
        assert "ro entry=mine console=hvc0" in command_line(terminal)


def test_what_the_guest_has_changed_is_booted_after_a_reboot(host: Host, disk: str) -> None:
    host.xl("create", config(host, "changing", disk))
    with host.terminal("console", "changing") as terminal:
        terminal.wait_for(b"# ", timeout=60)
        terminal.run("mkdir -p /mnt; mount -t ext4 /dev/xvda5 /mnt")
        terminal.run("sed -i s/entry=default/entry=new/ /mnt/boot/grub/grub.cfg; umount /mnt")
    first = host.row("changing").domid
    host.xl("reboot", "changing")
    eventually(lambda: "changing" in host.names() and host.row("changing").domid != first)
    with host.terminal("console", "changing") as terminal:
        assert "entry=new" in command_line(terminal)


def test_a_kernel_is_named(host: Host, disk: str) -> None:
    path = config(host, "named", disk)
    with path.open("a") as file:
        file.write('kernel = "/boot/vmlinuz"\nramdisk = "/boot/initrd.img"\n')
    with host.terminal("create", "-c", path) as terminal:
        assert command_line(terminal).startswith("console=hvc0 ")
        assert b"boots in" not in terminal.seen


def test_who_leaves_the_menu_gets_the_default(host: Host, disk: str) -> None:
    with host.terminal("create", "-c", config(host, "left", disk)) as terminal:
        terminal.wait_for(b"The entry marked * boots in")
        terminal.type(ESCAPE)
        assert "entry=default" in command_line(terminal)


def test_a_vhd_with_a_parent(host: Host, pristine: Path, tmp_path: Path) -> None:
    parent, child = tmp_path / "parent.vhd", tmp_path / "child.vhd"
    vhd = [sys.executable, "-m", "xenolith.cli.vhd"]
    images.run(*vhd, "convert", "--from=raw", pristine, parent)
    images.run(*vhd, "clone", parent, child)
    boots_by_default(host, f"{child},vhd,xvda,w")


def test_a_disk_that_qemu_serves(host: Host, pristine: Path, tmp_path: Path) -> None:
    convert = images.program("qemu-img", "qemu-utils")
    images.run(convert, "convert", "-O", "qcow2", pristine, tmp_path / "disk.qcow2")
    boots_by_default(host, f"{tmp_path / 'disk.qcow2'},qcow2,xvda,w")
    eventually(lambda: "qemu-nbd" not in str(host.processes()), host.processes)


def test_a_kernel_on_a_logical_volume(host: Host, tmp_path: Path) -> None:
    tree = {
        "boot/vmlinuz": (GUEST / "cloud" / "vmlinuz").read_bytes(),
        "boot/initrd.img": (GUEST / "cloud" / "initramfs").read_bytes(),
        "boot/grub/grub.cfg": GRUB_CFG.replace("hd0,msdos5", images.LVM_ROOT).encode(),
    }
    disk = images.make_lvm(tmp_path / "lvm", images.plant(tmp_path / "tree", tree))
    boots_by_default(host, f"{disk},raw,xvda,w")


def boots_by_default(host: Host, disk: str) -> None:
    host.xl("create", config(host, "formats", disk))
    with host.terminal("console", "formats") as console:
        assert "entry=default" in command_line(console)
    host.xl("destroy", "formats")


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_giving_up_leaves_nothing(host: Host, disk: str, key: bytes) -> None:
    with host.terminal("create", "-c", config(host, "unwanted", disk)) as terminal:
        terminal.wait_for(b"boots in")
        terminal.type(key)
        assert terminal.wait_end() == 1
        assert b"the menu was left without a choice" in terminal.seen
    nothing_is_left(host, "unwanted")


def forever(disk: str) -> None:
    """Have the menu of a disk wait for a key, however long that takes."""
    image = Path(disk.partition(",")[0])
    content = image.read_bytes()
    assert content.count(b"set timeout=30") == 1
    image.write_bytes(content.replace(b"set timeout=30", b"set timeout=-1"))


def test_a_menu_without_a_timeout_is_for_who_can_choose(host: Host, disk: str) -> None:
    forever(disk)
    host.xl("create", config(host, "nobody", disk))
    host.xl("destroy", "nobody")
    with host.terminal("create", "-c", config(host, "somebody", disk)) as terminal:
        seen = terminal.wait_for(b"q gives up.")
        assert b"boots in" not in seen
        terminal.type(ENTER)
        assert "entry=default" in command_line(terminal)


def test_the_default_boots_when_the_terminal_of_a_menu_hangs_up(host: Host, disk: str) -> None:
    """With SIGHUP ignored, as by nohup(1); else xl ends, and nothing is left."""
    forever(disk)
    xl = host.command("create", "-c", config(host, "hung", disk))
    ignoring = ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *xl]
    with Terminal(ignoring, host.environment) as terminal:
        terminal.wait_for(b"q gives up.")
        terminal.hang_up()
        eventually(lambda: not bootloaders(host))
        terminal.process.wait(30)
    assert "hung" in host.names()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_xl_that_is_killed_at_the_menu_leaves_nothing(
    host: Host, disk: str, number: signal.Signals
) -> None:
    with host.terminal("create", "-c", config(host, "orphan", disk)) as terminal:
        terminal.wait_for(b"boots in")
        assert len(bootloaders(host)) == 1
        kill(terminal.process.pid, number)
        eventually(lambda: not bootloaders(host))
        if number is signal.SIGTERM:
            assert terminal.attributes() == terminal.initial_attributes
    eventually(lambda: "orphan" not in host.names())
    nothing_is_left(host, "orphan")


def test_a_daemon_that_is_killed_at_a_menu_leaves_nothing(own_host: Host, disk: str) -> None:
    forever(disk)
    with own_host.terminal("create", "-c", config(own_host, "lost", disk)) as terminal:
        terminal.wait_for(b"q gives up.")
        kill(own_host.daemon_pid())
        assert terminal.wait_end() == 1
    nothing_is_left(own_host, "lost")


def test_a_domain_is_destroyed_at_its_menu(host: Host, disk: str) -> None:
    with host.terminal("create", "-c", config(host, "early", disk)) as terminal:
        terminal.wait_for(b"boots in")
        host.xl("destroy", "early")
        assert terminal.wait_end() == 1
        assert b"was destroyed while it was created" in terminal.seen
    nothing_is_left(host, "early")


def test_the_process_at_the_menu_is_jailed_and_has_no_path_but_its_disk(
    host: Host, disk: str
) -> None:
    with host.terminal("create", "-c", config(host, "jailed", disk)) as terminal:
        terminal.wait_for(b"boots in")
        (pid,) = bootloaders(host)
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Seccomp:\t2\n" in status
        assert "NoNewPrivs:\t1\n" in status
        opened = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
        files = {path for path in opened if path.startswith("/") and not path.startswith("/memfd:")}
        assert files == {"/dev/null", disk.partition(",")[0], str(host.logs / "xl-jailed.log")}
        flags = Path(f"/proc/{pid}/fdinfo")
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if str(link.readlink()) == disk.partition(",")[0]:
                mode = int((flags / link.name).read_text().partition("flags:")[2].split()[0], 8)
                assert mode & 3 == 0, "the disk is open for writing"
        terminal.type(b"q")
        assert terminal.wait_end() == 1


def bootloaders(host: Host) -> list[int]:
    return [pid for pid, line in host.processes().items() if "bootloader_process" in line]


def nothing_is_left(host: Host, name: str) -> None:
    assert name not in host.names()
    assert not bootloaders(host)
    assert not [path for path in (host.run_dir / "domains").iterdir() if name in path.name]
