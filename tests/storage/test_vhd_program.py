"""The programs vhd and vhd-util, as they are typed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from disk_model import MIB, contents, pattern, write

from xenolith.cli import vhd, vhd_util, vhd_verbs
from xenolith.storage.open import open_image

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "vhd.md"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other processes find the same code from here."""
    monkeypatch.setenv("PYTHONPATH", str(Path(vhd.__file__).parents[2]))


class Shell:
    """Runs commands; what they print is returned, what goes wrong is an assertion."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, command: str, status: int = 0) -> str:
        program, *arguments = command.split()
        run = {"vhd": vhd.main, "vhd-util": vhd_util.main}[program]
        found = run(arguments)
        out, err = self.capsys.readouterr()
        assert found == status, err
        return out if status == 0 else out + err

    def json(self, command: str) -> Any:
        return json.loads(self(command))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def fill(path: str, offset: int, data: bytes) -> None:
    image = open_image(path, "vhd", writable=True)
    write(image, offset, data)
    image.close()


def test_create_and_info(shell: Shell) -> None:
    shell("vhd create a.vhd 20g")
    shell("vhd create --fixed b.vhd 1m")
    shell("vhd create --block-size=512k c.vhd 100m")
    facts = shell.json("vhd info --json a.vhd")
    assert (facts["type"], facts["virtual-size"]) == ("dynamic", 20 << 30)
    assert facts["file-size"] < 1 << 20
    assert shell.json("vhd info --json b.vhd")["type"] == "fixed"
    assert shell.json("vhd info --json c.vhd")["block-size"] == 512 << 10
    assert "20 GiB (21474836480 bytes)" in shell("vhd info a.vhd")
    assert "exists already" in shell("vhd create a.vhd 1g", 1)
    assert "2040 GiB" in shell("vhd create d.vhd 2041g", 1)
    assert "must be a power of two" in shell("vhd create --block-size=3m d.vhd 1g", 1)
    assert not Path("d.vhd").exists()


def test_snapshot_coalesce_and_map(shell: Shell) -> None:
    shell("vhd create base.vhd 10m")
    fill("base.vhd", 0, pattern(MIB, 1))
    for parent, child in (("base", "a"), ("a", "b"), ("b", "c")):
        shell(f"vhd snapshot {parent}.vhd {child}.vhd")
        fill(f"{child}.vhd", MIB, pattern(MIB, ord(child)))
    expected = contents(Path("c.vhd"))
    assert "in use" not in shell("vhd check c.vhd")
    runs = shell.json("vhd map --json c.vhd")
    assert [(run["start"], run["depth"]) for run in runs if run["data"]] == [(0, 3), (MIB, 0)]
    assert re.search(r"1048576 +1048576 +\d+  c.vhd", shell("vhd map c.vhd"))
    assert "no ancestor" in shell("vhd coalesce b.vhd base.vhd", 1)
    shell("vhd coalesce --delete a.vhd c.vhd")
    assert not Path("a.vhd").exists()
    assert contents(Path("c.vhd")) == expected
    shell("vhd coalesce b.vhd c.vhd")
    assert contents(Path("b.vhd")) == contents(Path("base.vhd"))
    assert contents(Path("c.vhd")) == expected
    assert shell.json("vhd info --json c.vhd")["parent"] == str(Path("base.vhd").resolve())
    assert "has no parent" in shell("vhd coalesce base.vhd", 1)


def test_one_of_two_branches_is_taken_out(shell: Shell) -> None:
    shell("vhd create base.vhd 10m")
    for parent, child in (("base", "a"), ("a", "b"), ("b", "c"), ("b", "d")):
        shell(f"vhd snapshot {parent}.vhd {child}.vhd")
        os.utime(f"{child}.vhd", (1_500_000_000, 1_500_000_000))
        fill(f"{child}.vhd", MIB, pattern(MIB, ord(child)))
    before = [contents(Path(f"{name}.vhd")) for name in "bcd"]
    shell("vhd coalesce --delete a.vhd c.vhd d.vhd")
    assert [contents(Path(f"{name}.vhd")) for name in "bcd"] == before


def test_a_snapshot_of_a_raw_image(shell: Shell) -> None:
    Path("base.raw").write_bytes(pattern(MIB, 1))
    shell("vhd snapshot --raw base.raw child.vhd")
    assert contents(Path("child.vhd")) == pattern(MIB, 1)
    assert shell.json("vhd info --json child.vhd")["parent-format"] == "raw"
    shell("vhd check child.vhd")


def test_clone(shell: Shell) -> None:
    shell("vhd create a.vhd 10m")
    fill("a.vhd", 0, pattern(MIB, 1))
    assert "children of a-base.vhd" in shell("vhd clone a.vhd b.vhd")
    assert contents(Path("a.vhd")) == contents(Path("b.vhd")) == pattern(MIB, 1) + bytes(9 * MIB)
    fill("a.vhd", 0, pattern(MIB, 2))
    assert contents(Path("b.vhd"))[:MIB] == pattern(MIB, 1)
    assert "children of a-base2.vhd" in shell("vhd clone a.vhd c.vhd")
    assert contents(Path("c.vhd")) == contents(Path("a.vhd"))
    shell("vhd clone --full c.vhd d.vhd")
    facts = shell.json("vhd info --json d.vhd")
    assert facts["type"] == "dynamic"
    assert facts["uuid"] != shell.json("vhd info --json c.vhd")["uuid"]
    assert contents(Path("d.vhd")) == contents(Path("a.vhd"))
    assert "exists already" in shell("vhd clone a.vhd d.vhd", 1)
    assert "no base" in shell("vhd clone --full --base=x a.vhd e.vhd", 2)
    Path("elsewhere").mkdir()
    assert "must be in the directory" in shell("vhd clone --base=elsewhere/x a.vhd e.vhd", 1)


def test_resize(shell: Shell) -> None:
    shell("vhd create a.vhd 10m")
    fill("a.vhd", 9 * MIB, pattern(MIB, 1))
    shell("vhd resize a.vhd 1g")
    assert contents(Path("a.vhd"))[: 10 * MIB] == bytes(9 * MIB) + pattern(MIB, 1)
    assert "--shrink" in shell("vhd resize a.vhd 5m", 1)
    shell("vhd resize --shrink a.vhd 5m")
    assert contents(Path("a.vhd")) == bytes(5 * MIB)


def test_convert(shell: Shell) -> None:
    raw = bytearray(20 * MIB)
    raw[3 * MIB : 4 * MIB] = pattern(MIB, 1)
    raw[-512:] = pattern(512, 2)
    Path("a.raw").write_bytes(raw)
    shell("vhd convert --from raw --to vhd a.raw a.vhd")
    assert Path("a.vhd").stat().st_size < 8 * MIB
    shell("vhd convert --to=vhd-fixed a.vhd b.vhd")
    shell("vhd convert -t raw b.vhd b.raw")
    assert contents(Path("a.vhd")) == contents(Path("b.vhd")) == Path("b.raw").read_bytes() == raw
    for path in ("b.vhd", "b.raw"):
        assert Path(path).stat().st_blocks * 512 < 2 * MIB
    assert "not a format" in shell("vhd convert --to=qcow2 a.vhd c", 2)
    assert "not a format" in shell("vhd convert --from=qcow2 a.vhd c", 1)
    assert "no sound VHD" in shell("vhd convert a.raw c", 1)
    assert sorted(path.name for path in Path().iterdir()) == ["a.raw", "a.vhd", "b.raw", "b.vhd"]


def test_check_and_repair(shell: Shell) -> None:
    shell("vhd create base.vhd 10m")
    fill("base.vhd", 0, pattern(MIB, 1))
    shell("vhd snapshot base.vhd a.vhd")
    fill("a.vhd", 0, pattern(MIB, 2))
    assert "sound" in shell("vhd check a.vhd")
    os.utime("base.vhd", (1, 1))
    assert "was modified after" in shell("vhd check a.vhd", 1)
    assert "took note of" in shell("vhd repair --accept-parent a.vhd")
    assert shell.json("vhd check --json a.vhd")["sound"] is True
    assert "nothing to repair" in shell("vhd repair a.vhd")
    with open("a.vhd", "r+b") as file:
        file.seek(1536)
        file.write(b"\x40\0\0\0")
    report = shell("vhd check a.vhd", 1)
    assert "block 0 lies outside the file" in report
    found = json.loads(shell("vhd check --json a.vhd", 1))
    assert [item["problem"] for item in found["files"][0]["findings"]] == ["block-outside"]
    assert "gave up 1 blocks" in shell("vhd repair a.vhd")
    shell("vhd check a.vhd")
    assert contents(Path("a.vhd"))[:MIB] == pattern(MIB, 1)
    Path("base.vhd").rename("gone.vhd")
    assert "cannot be found" in shell("vhd check a.vhd", 1)


def test_an_image_in_use_can_be_asked_but_not_changed(shell: Shell) -> None:
    shell("vhd create a.vhd 10m")
    image = open_image("a.vhd", "vhd", writable=True)
    shell("vhd info a.vhd")
    for command in (
        "check a.vhd", "repair a.vhd", "resize a.vhd 20m", "snapshot a.vhd b.vhd",
        "clone a.vhd b.vhd", "convert a.vhd b.vhd", "map a.vhd",
    ):  # fmt: skip
        assert "is in use by this process" in shell(f"vhd {command}", 1)
    image.close()
    assert [path.name for path in Path().iterdir()] == ["a.vhd"]


def test_mistakes(shell: Shell) -> None:
    assert "there is no command 'bogus'" in shell("vhd bogus", 2)
    assert "usage: vhd create" in shell("vhd create a", 2)
    assert "usage: vhd create" in shell("vhd create --bogus a 1", 2)
    assert "not the size of a disk" in shell("vhd create a.vhd 1x", 1)
    assert "No such file" in shell("vhd info nothing", 1)
    assert "neither a file nor" in shell("vhd info .", 1)


def test_help(shell: Shell) -> None:
    overview = shell("vhd help")
    for name in vhd_verbs.VERBS:
        assert f"\n {name} " in overview
        assert shell(f"vhd {name} --help") == shell(f"vhd help {name}")
    assert shell("vhd --version").startswith("vhd (Xenolith)")
    assert "no command" in shell("vhd help bogus", 1)


def test_the_reference_has_every_verb_and_option() -> None:
    parts = re.split(r"^### (.*)$", REFERENCE.read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(sections) == set(vhd_verbs.VERBS)
    for name, body in sections.items():
        verb = vhd_verbs.load(name)
        assert f"`vhd {name} {verb.SYNOPSIS}`" in body
        for option in verb.LONG:
            assert re.search(rf"`--{option}[ =`]", body), f"{name} --{option} is not documented"


def test_progress_is_shown_on_a_terminal_only() -> None:
    Path("a.raw").write_bytes(pattern(64 * MIB, 1))
    command = [sys.executable, "-m", "xenolith.cli.vhd", "convert", "--from=raw", "a.raw"]
    quiet = subprocess.run([*command, "b.vhd"], check=True, capture_output=True)
    assert quiet.stderr == b""
    code = (
        "from xenolith.cli import progress_bar, vhd\n"
        "progress_bar._PATIENCE_S = progress_bar._INTERVAL_S = 0\n"
        "vhd.main(['convert', '--from=raw', 'a.raw', 'c.vhd'])\n"
    )
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while chunk := _read(controller):
            shown += chunk
        assert process.wait() == 0
    os.close(controller)
    assert re.search(rb"c.vhd \[#+-+\] +\d+%", shown)
    assert shown.endswith(b"\r\033[K")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        return b""


@pytest.mark.slow
def test_ctrl_c_leaves_nothing() -> None:
    with open("a.raw", "wb") as file:
        for number in range(32):
            file.write(pattern(32 * MIB, number))
    command = [sys.executable, "-m", "xenolith.cli.vhd", "convert", "--from=raw", "a.raw", "b.vhd"]
    for delay in (0.1, 0.3, 0.5):
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            # Before the interpreter has a handler, the signal ends it by itself.
            assert process.wait() in (0, 130, -signal.SIGINT)
        left = {path.name for path in Path().iterdir()}
        assert left == {"a.raw"} or process.returncode == 0
        Path("b.vhd").unlink(missing_ok=True)


class TestVhdUtil:
    def test_create_query_and_check(self, shell: Shell) -> None:
        shell("vhd-util create -n a.vhd -s 100")
        shell("vhd-util create -n fixed.vhd -s 1 -r")
        assert shell("vhd-util query -n a.vhd -v") == "100\n"
        assert int(shell("vhd-util query -n fixed.vhd -s")) == MIB + 512
        assert shell("vhd-util query -n a.vhd -p") == "a.vhd has no parent\n"
        assert shell("vhd-util check -n a.vhd") == "a.vhd is valid\n"

    def test_snapshot_chain_and_coalesce(self, shell: Shell) -> None:
        shell("vhd-util create -n a.vhd -s 10")
        shell("vhd-util snapshot -n b.vhd -p a.vhd")
        assert shell("vhd-util query -n b.vhd -p").strip() == str(Path("a.vhd").resolve())
        assert shell("vhd-util query -n b.vhd -d") == "chain depth: 2\n"
        fill("b.vhd", 0, pattern(MIB, 1))
        assert "depth exceeded" in shell("vhd-util snapshot -n c.vhd -p b.vhd -l 2", 1)
        shell("vhd-util coalesce -n b.vhd")
        assert contents(Path("a.vhd"))[:MIB] == pattern(MIB, 1)

    def test_hidden_images_remain_parents(self, shell: Shell) -> None:
        shell("vhd-util create -n a.vhd -s 10")
        os.utime("a.vhd", (1_500_000_000, 1_500_000_000))
        shell("vhd-util snapshot -n b.vhd -p a.vhd")
        shell("vhd-util set -n a.vhd -f hidden -v 1")
        assert shell("vhd-util query -n a.vhd -f") == "hidden: 1\n"
        assert contents(Path("b.vhd")) == bytes(10 * MIB)
        lines = shell("vhd-util scan -m *.vhd").splitlines()
        assert re.fullmatch(r"vhd=a.vhd capacity=10485760 size=\d+ hidden=1 parent=none", lines[0])
        assert re.fullmatch(r"vhd=b.vhd capacity=\d+ size=\d+ hidden=0 parent=a.vhd", lines[1])

    def test_modify_resize_fill_and_read(self, shell: Shell) -> None:
        shell("vhd-util create -n a.vhd -s 10")
        shell("vhd-util snapshot -n b.vhd -p a.vhd")
        Path("a.vhd").rename("c.vhd")
        shell("vhd-util modify -n b.vhd -p c.vhd")
        assert shell("vhd-util query -n b.vhd -p").strip() == str(Path("c.vhd").resolve())
        shell("vhd-util resize -n b.vhd -s 20 -j journal")
        assert shell("vhd-util query -n b.vhd -v") == "20\n"
        shell("vhd-util fill -n b.vhd")
        assert shell.json("vhd info --json b.vhd")["allocated-blocks"] == 10
        assert "Disk type           : Differencing hard disk" in shell("vhd-util read -n b.vhd -p")
        assert shell("vhd-util repair -n b.vhd") == ""

    def test_mistakes(self, shell: Shell) -> None:
        assert "COMMAND := { create |" in shell("vhd-util")
        assert "options: <-n name>" in shell("vhd-util create", 22)
        assert "options: <-n name>" in shell("vhd-util query -n", 22)
        assert "hidden" in shell("vhd-util set -n a -f bogus -v 1", 22)
