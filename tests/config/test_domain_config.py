"""What a configuration means: types, defaults, ranges, errors and warnings with their places."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.builder.grub_images import GrubImage, find_grub
from xenolith.toolstack.config import (
    Action,
    ConfigError,
    DomainConfig,
    DomainType,
    EngineChoice,
    load,
    loads,
)
from xenolith.toolstack.config.disk import DiskConfig, DiskFormat
from xenolith.toolstack.config.libxl_json import to_libxl
from xenolith.toolstack.config.nic import NicConfig
from xenolith.toolstack.config.reader import parse_number
from xenolith.toolstack.config_source import MAX_SIZE, SourceError, read_source

KERNEL = __file__
"""Any file that exists."""

MINIMAL = f"name='d'\ntype='pvh'\nkernel='{KERNEL}'\n"


def config(extra: str = "", *overrides: str) -> DomainConfig:
    return loads(MINIMAL + extra, "f.cfg", overrides).config


def errors(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.cfg", overrides)
    return str(caught.value).split("\n")


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in loads(text, "f.cfg").warnings]


def test_defaults_are_those_of_libxl() -> None:
    built = config()
    assert built == DomainConfig(
        name="d", type=DomainType.PVH, kernel=KERNEL, uuid=built.uuid, memory=32, maxmem=32
    )
    assert config().uuid != built.uuid
    assert (built.on_poweroff, built.on_reboot) == (Action.DESTROY, Action.RESTART)
    assert (built.on_crash, built.on_watchdog) == (Action.DESTROY, Action.DESTROY)
    assert built.on_soft_reset is Action.SOFT_RESET


def test_everything_at_once() -> None:
    built = config(
        """
        uuid = "12345678-ABCD-ef01-2345-6789abcdef01"
        memory = 0x100; maxmem = 01000
        vcpus = 2; maxvcpus = 4
        cpus = "0-3,^1"; cpus_soft = ["0", 1]
        cpu_weight = 512; cap = 400; pool = "fast"
        on_poweroff = "preserve"; on_crash = 'coredump-restart'
        max_grant_frames = 128; max_event_channels = 4096; nomigrate = 1
        boot = "c"; acpi = 0; serial = "pty"; engine = "unicorn"
        disk = [ 'format=vhd, vdev=xvda, access=r, target=/images/a,b' ]
        vif = [ 'mac=00:16:3E:1:2:3, bridge=br0', '' ]
        vfb = [ 'vnc=1' ]
        """
    )
    assert built.uuid == "12345678-abcd-ef01-2345-6789abcdef01"
    assert (built.memory, built.maxmem, built.vcpus, built.maxvcpus) == (256, 512, 2, 4)
    assert built.cpus == ("0-3,^1",) * 4
    assert built.cpus_soft == ("0", "1")
    assert (built.cpu_weight, built.cap, built.pool) == (512, 400, "fast")
    assert (built.on_poweroff, built.on_crash) == (Action.PRESERVE, Action.COREDUMP_RESTART)
    assert (built.max_grant_frames, built.max_event_channels) == (128, 4096)
    assert (built.nomigrate, built.boot, built.acpi) == (True, "c", False)
    assert (built.serial, built.vfb) == (("pty",), ("vnc=1",))
    assert built.engine is EngineChoice.UNICORN
    assert built.disk == (
        DiskConfig(vdev="xvda", target="/images/a,b", format=DiskFormat.VHD, writable=False),
    )
    assert built.vif == (NicConfig(mac="00:16:3e:01:02:03", bridge="br0"), NicConfig())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("cmdline='a b'", "a b"),
        ("root='/dev/xvda1'", "root=/dev/xvda1"),
        ("extra='quiet'", "quiet"),
        ("root='/dev/xvda1'\nextra='quiet'", "root=/dev/xvda1 quiet"),
        ("cmdline='a'\nextra='quiet'\nroot='x'", "a"),
        ("extra='a'\nextra+=' b'", "a b"),
    ],
)
def test_command_line_of_the_kernel(text: str, expected: str) -> None:
    assert config(text).cmdline == expected


def test_maxmem_alone_is_the_memory_too() -> None:
    assert config("maxmem=512").memory == 512


def test_builder_is_deprecated() -> None:
    text = f"name='d'\nkernel='{KERNEL}'\nbuilder='hvm'"
    assert loads(text).config.type is DomainType.HVM
    assert warnings(text) == ["f.cfg:3: warning: key 'builder' is deprecated, write type='hvm'"]
    assert errors(MINIMAL + "builder='hvm'") == [
        "f.cfg:4: key 'builder': 'hvm' contradicts type='pvh'"
    ]


@contextmanager
def no_privileges() -> Iterator[None]:
    """Root may read everything, so be somebody else for a while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_cannot_be_read_is_not_called_absent() -> None:
    with TemporaryDirectory() as place:
        directory = Path(place)
        kernel = directory / "vmlinuz"
        kernel.write_bytes(b"kernel")
        text = f"name='d'\ntype='pvh'\nkernel='{kernel}'"
        sentence = f"f.cfg:3: key 'kernel': '{kernel}' cannot be read: Permission denied"
        for path in (kernel, directory):
            directory.chmod(0o755)
            path.chmod(0)
            with no_privileges():
                assert errors(text) == [sentence]
        directory.chmod(0o755)


def test_hvm_and_bootloaders_need_no_kernel() -> None:
    assert loads("name='d'\ntype='hvm'").config.kernel is None
    assert loads("name='d'\nbootloader='pygrub'").config.kernel is None


def test_the_keys_of_ganeti_are_understood() -> None:
    built = config("cpu_cap=50\nbootargs='-q --entry x'\nbootloader='pygrub'\n")
    assert (built.cap, built.bootloader_args) == (50, ("-q", "--entry", "x"))


def test_overrides_win_and_append() -> None:
    built = config("memory=64\nextra='a'", 'name="other"', "memory=128", "extra+=' b'")
    assert (built.name, built.memory, built.cmdline) == ("other", 128, "a b")


def test_unknown_keys_suggest_the_nearest() -> None:
    assert errors(MINIMAL + "memroy=512\nMEMORY=5\nzzzzzz=1") == [
        "f.cfg:4: key 'memroy': unknown key (did you mean 'memory'?)",
        "f.cfg:5: key 'MEMORY': unknown key (did you mean 'memory'?)",
        "f.cfg:6: key 'zzzzzz': unknown key",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory=31", "key 'memory': 31 is out of range (32 to 16777216)"),
        ("memory='lots'", "key 'memory': expected a number, not 'lots'"),
        ("memory=''", "key 'memory': expected a number, not an empty string"),
        ("memory=[1]", "key 'memory': expected a single value, not a list"),
        ("memory=64\nmemory+=64", "key 'memory': += does not work with numbers"),
        ("memory=512m", "key 'memory': expected a number, not '512m'"),
        ("memory=64;maxmem=63", "key 'maxmem': 63 is less than memory, which is 64"),
        ("vcpus=0", "key 'vcpus': 0 is out of range (1 to 128)"),
        ("vcpus=129", "key 'vcpus': 129 is out of range (1 to 128)"),
        ("vcpus=4;maxvcpus=2", "key 'maxvcpus': 2 is less than vcpus, which is 4"),
        ("cap=101", "key 'cap': 101 is out of range (0 to 100)"),
        ("acpi='yes'", "key 'acpi': expected a number, not 'yes'"),
        ("type='xyz'", "key 'type': expected one of pv, pvh, hvm, not 'xyz'"),
        ("engine='bochs'", "key 'engine': expected one of auto, unicorn, kvm, not 'bochs'"),
        ("uuid='1234'", "key 'uuid': '1234' is not a UUID"),
        ("name=''", "key 'name': missing: a domain needs a name"),
        ("name=7", "key 'name': '7' would be taken for a domain ID"),
        ("name='a b'", "key 'name': 'a b' holds a space, a slash or an unprintable character"),
        (
            "name='../x'",
            "key 'name': '../x' holds a space, a slash or an unprintable character",
        ),
        ("cpus='0-x'", "key 'cpus': '0-x' is not a CPU or a range of CPUs"),
        (
            "disk=['/a,raw,xvda,r','/b,raw,51712,r']",
            "key 'disk': two disks are called 51712",
        ),
        (
            "disk=['/a,raw,xvda,r','/a,raw,xvdb,w']",
            "key 'disk': '/a' is both xvda and xvdb: an image with a writer has no other user",
        ),
        (
            "disk=['/a,raw,sdq,w']",
            "key 'disk': 'sdq' is not the name of a virtual disk, such as xvda",
        ),
        ("vif='x'", "key 'vif': expected a list, not a single value"),
        ("vif=[['x']]", "key 'vif': expected a list of strings, not of lists"),
        ("vif=['x']", "key 'vif': 'x' is not of the form keyword=value, in 'x'"),
        ("kernel=['/k']", "key 'kernel': expected a single value, not a list"),
        ("kernel='/nowhere'", "key 'kernel': there is no file '/nowhere'"),
        ("foo=1", "key 'foo': unknown key"),
        ("kernel='/'", "key 'kernel': '/' is not a regular file"),
        ("kernel='/dev/null/x'", "key 'kernel': there is no file '/dev/null/x'"),
    ],
)
def test_refuses(text: str, expected: str) -> None:
    (message,) = errors(MINIMAL + text)
    assert message.split(": ", 1)[1] == expected


def test_says_what_is_missing() -> None:
    assert errors("type='pvh'") == [
        "f.cfg: key 'name': missing: a domain needs a name",
        "f.cfg: key 'kernel': missing: a domain of type pvh needs a kernel",
    ]


def test_reports_all_problems_in_their_order() -> None:
    found = errors("memory=1\nvcpus='x'\nnonsense=1\nkernel='k'", "cap=-1")
    assert [line.split(" ")[0] for line in found] == [
        "f.cfg:",
        "command",
        "f.cfg:1:",
        "f.cfg:2:",
        "f.cfg:3:",
    ]


def test_command_line_positions() -> None:
    assert errors(MINIMAL, "memory=foo") == [
        "command line: expected a value (a string needs quotes: \"foo\"), not 'foo'"
    ]
    assert errors(MINIMAL, "memory='foo'") == [
        "command line: key 'memory': expected a number, not 'foo'"
    ]


def test_keys_without_effect_warn() -> None:
    assert warnings(
        MINIMAL + "vnc=1\n\nserial='pty'\ndisk=[]\nfeatures='x'\nroot='r'\ncmdline='c'"
    ) == [
        "f.cfg:4: warning: key 'vnc' is accepted but has no effect yet",
        "f.cfg:6: warning: key 'serial' is accepted but has no effect yet",
        "f.cfg:8: warning: key 'features' belongs to xm and is ignored, as by xl",
        "f.cfg:9: warning: key 'root' is ignored, because cmdline is given",
    ]


def test_files_are_found_as_by_xl_and_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    file = there / "d.cfg"
    file.write_text("name='d'\ntype='pvh'\nkernel='linux'\nramdisk='initrd'")
    (there / "linux").touch()
    with pytest.raises(ConfigError) as caught:
        load(read_source(str(file)))
    assert str(caught.value) == (
        f"{file}:4: key 'ramdisk': there is no file '{here}/initrd' nor '{there}/initrd'"
    )
    (there / "initrd").touch()
    assert load(read_source(str(file))).config.kernel == f"{there}/linux"
    (here / "linux").touch()
    built = load(read_source(str(file))).config
    assert (built.kernel, built.ramdisk) == (f"{here}/linux", f"{there}/initrd")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MINIMAL.encode() + b"vcpus=x")))
    with pytest.raises(ConfigError) as caught:
        load(read_source("-"))
    assert str(caught.value).startswith("<stdin>:4: ")


def test_files_that_are_no_configurations(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file or directory"):
        read_source(str(tmp_path / "absent"))
    with pytest.raises(SourceError, match="cannot be read: Is a directory"):
        read_source(str(tmp_path))
    big = tmp_path / "big"
    big.write_bytes(b"\n" * (MAX_SIZE + 1))
    with pytest.raises(SourceError, match="this is no configuration"):
        read_source(str(big))
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(ConfigError):
        load(read_source(str(binary)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10", 10),
        ("010", 8),
        ("0x1F", 31),
        ("-1", -1),
        (" +5", 5),
        ("08", None),
        ("0x", None),
        ("", None),
        ("1 ", None),
        ("1" * 5000, None),
    ],
)
def test_numbers_are_those_of_strtol(text: str, value: int | None) -> None:
    assert parse_number(text) == value


cpu_lists = st.sampled_from(["all", "0", "0-3,^1", "node:0", "nodes:0-1,^3"])
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,30}", fullmatch=True)
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@st.composite
def configs(draw: st.DrawFn) -> DomainConfig:
    memory, vcpus = draw(st.integers(32, 4096)), draw(st.integers(1, 64))
    maxvcpus = draw(st.integers(vcpus, 128))
    return DomainConfig(
        name=draw(names),
        type=draw(st.sampled_from(DomainType)),
        uuid=str(draw(st.uuids())),
        kernel=KERNEL,
        cmdline=draw(texts),
        memory=memory,
        maxmem=draw(st.integers(memory, 8192)),
        vcpus=vcpus,
        maxvcpus=maxvcpus,
        cpus=tuple(draw(st.lists(cpu_lists, max_size=maxvcpus))),
        cpu_weight=draw(st.integers(1, 65535)),
        cap=draw(st.integers(0, 100)),
        pool=draw(texts.filter(bool)),
        on_poweroff=draw(st.sampled_from(Action)),
        on_reboot=draw(st.sampled_from(Action)),
        on_crash=draw(st.sampled_from(Action)),
        nomigrate=draw(st.booleans()),
        acpi=draw(st.booleans()),
        engine=draw(st.sampled_from(EngineChoice)),
        vfb=tuple(draw(st.lists(texts, max_size=2))),
    )


def as_xl_cfg(config: DomainConfig) -> str:
    lines = []
    for key, value in config.to_dict().items():
        if value is not None and key not in ("disk", "vif"):
            lines.append(f"{key} = {_written(value)}")
    return "\n".join(lines)


def _written(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    if isinstance(value, str):
        return "'" + "".join(f"\\x{byte:02x}" for byte in value.encode()) + "'"
    assert isinstance(value, int)
    return str(int(value))


@given(configs())
def test_configurations_survive_text_and_json(built: DomainConfig) -> None:
    assert loads(as_xl_cfg(built)).config == built
    plain = built.to_dict()
    assert DomainConfig.from_dict(json.loads(json.dumps(plain))) == built
    json.dumps(to_libxl(built))


EVERYTHING = """
name = "d" ; type = "pvh" ; kernel = "KERNEL"
memory = 512
vcpus = 2 # two
cpus = [ "0-3,^1", 2 ]
disk = [ 'format=vhd, vdev=xvda, access=rw, target=/path', 'phy:/dev/x,xvdb,w',
  ',hdc:cdrom,r' ]
vif = [ 'mac=00:16:3e:00:00:01,bridge=br0,rate=10Mb/s@20ms,vlan=10p/20', "" ]
extra = "a\\x41\\n"
extra += ' b'
on_crash = "coredump-restart"
uuid = "12345678-abcd-ef01-2345-6789abcdef01"
bootloader_args = "--quiet x" ; serial = [ 'pty' ] ; acpi = 1
""".replace("KERNEL", KERNEL)


@settings(max_examples=300)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_mutated_text_raises_nothing_but_config_errors(chance: random.Random, times: int) -> None:
    text = EVERYTHING
    for _ in range(times):
        start = chance.randrange(len(text))
        end = start + chance.randrange(8)
        piece = chance.choice(["", "'", '"', "[", "]", ",", "=", "\\", "\n", "\0", "9" * 30, "é"])
        text = text[:start] + chance.choice([piece, text[end : end + 9]]) + text[end:]
    try:
        built = loads(text).config
    except ConfigError as error:
        assert str(error)
    else:
        assert DomainConfig.from_dict(json.loads(json.dumps(built.to_dict()))) == built


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": "512"}, "config.memory: expected int, not '512'"),
        ({"memory": True}, "config.memory: expected int, not True"),
        ({"name": None}, "config.name: expected str, not None"),
        ({"type": "xyz"}, "config.type: expected one of pv, pvh, hvm, not 'xyz'"),
        ({"cpus": "0"}, "config.cpus: expected a list, not '0'"),
        ({"cpus": [0]}, "config.cpus[0]: expected str, not 0"),
        ({"disk": [{}]}, "config.disk[0]: member 'vdev' is missing"),
        ({"disk": [7]}, "config.disk[0]: expected an object, not 7"),
        ({"colour": "red"}, "config: unknown member 'colour'"),
    ],
)
def test_plain_forms_are_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        DomainConfig.from_dict(config().to_dict() | change)
    assert str(caught.value) == message


def test_plain_form_must_name_the_domain() -> None:
    with pytest.raises(ValueError, match="config: member 'name' is missing"):
        DomainConfig.from_dict({})
    with pytest.raises(ValueError, match="config: expected an object"):
        DomainConfig.from_dict([])


def test_layout_of_libxl() -> None:
    built = config(
        "uuid='12345678-abcd-ef01-2345-6789abcdef01'\nvcpus=2\nmemory=64\ncmdline='q'\n"
        "on_crash='rename-restart'\ndisk=['/a,vhd,xvda,w']\nvif=['bridge=br0']"
    )
    layout = to_libxl(dataclasses.replace(built, kernel="/k"))
    assert layout["c_info"] == {
        "type": "pvh",
        "name": "d",
        "uuid": "12345678-abcd-ef01-2345-6789abcdef01",
        "pool_name": "Pool-0",
        "run_hotplug_scripts": "True",
    }
    build = layout["b_info"]
    assert (build["max_vcpus"], build["avail_vcpus"]) == (2, [0, 1])
    assert (build["max_memkb"], build["target_memkb"]) == (65536, 65536)
    assert (build["kernel"], build["cmdline"], build["type.pvh"]) == ("/k", "q", {})
    assert "ramdisk" not in build
    (disk,) = layout["disks"]
    assert (disk["pdev_path"], disk["vdev"], disk["format"]) == ("/a", "xvda", "vhd")
    assert (disk["readwrite"], disk["removable"], disk["is_cdrom"]) == (1, 0, 0)
    (nic,) = layout["nics"]
    assert (nic["devid"], nic["bridge"]) == (0, "br0")
    assert (layout["on_crash"], layout["on_reboot"]) == ("restart_rename", "restart")


@pytest.fixture
def grub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache has GRUB's images."""
    monkeypatch.setenv("XENOLITH_CACHE_DIR", str(tmp_path))
    directory = tmp_path / "grub"
    directory.mkdir()
    for image in GrubImage:
        (directory / image).touch()
    return directory


@pytest.mark.parametrize(
    ("kind", "firmware", "image"),
    [
        ("pv", "pvgrub64", GrubImage.PV),
        ("pvh", "pvgrub64", GrubImage.PVH),
        ("pvh", "pvgrub32", GrubImage.PVH),
    ],
)
def test_firmware_is_the_kernel(grub: Path, kind: str, firmware: str, image: GrubImage) -> None:
    found = loads(f"name='d'\ntype='{kind}'\nfirmware='{firmware}'\n").config
    assert found.kernel == str(grub / image)
    assert DomainConfig.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"kernel='{KERNEL}'\nfirmware='pvgrub64'", "f:3: key 'firmware': both kernel and"),
        ("firmware='ovmf'", "f:2: key 'firmware': expected one of pvgrub32, pvgrub64, not 'ovmf'"),
        ("firmware='pvgrub32'", "f:2: key 'firmware': 32-bit PV guests cannot be run"),
    ],
)
def test_firmware_that_cannot_be(grub: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        loads(f"name='d'\n{text}\n", "f")


def test_firmware_that_was_never_fetched(grub: Path) -> None:
    for image in GrubImage:
        (grub / image).unlink()
    if find_grub(GrubImage.PV) is not None:
        pytest.skip("Debian's GRUB for guests is installed here")
    with pytest.raises(ConfigError, match=r"f:2: key 'firmware': .* make grub"):
        loads("name='d'\nfirmware='pvgrub64'\n", "f")


def test_firmware_of_hvm_guests_has_no_effect_yet() -> None:
    loaded = loads("name='d'\ntype='hvm'\nfirmware='ovmf'\n", "f")
    assert [str(warning) for warning in loaded.warnings] == [
        "f:3: warning: key 'firmware' is accepted but has no effect yet"
    ]
