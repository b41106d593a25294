"""Turns the settings of an xl.cfg(5) file into a DomainConfig, as tools/xl/xl_parse.c does.

What is wrong is collected with its places and reported all at once; the files that a
configuration names are not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.options import parse_options
from xenolith.toolstack.config import domain_name
from xenolith.toolstack.config.disk import DiskConfig, parse_disk
from xenolith.toolstack.config.domain_config import (
    MAX_EVENT_CHANNELS,
    MAX_GRANT_FRAMES,
    MAX_MEMORY,
    MAX_VCPUS,
    MIN_MEMORY,
    Action,
    DomainConfig,
    DomainType,
    EngineChoice,
    Firmware,
    new_uuid,
)
from xenolith.toolstack.config.errors import ConfigError, Problem
from xenolith.toolstack.config.keys import ALIASES, KEYS, Effect, nearest_key
from xenolith.toolstack.config.nic import parse_nic
from xenolith.toolstack.config.parser import ListValue, Setting, Value
from xenolith.toolstack.config.reader import Reader
from xenolith.toolstack.config.vif2 import parse_vif2
from xenolith.toolstack.devices.vdev import device_number

T = TypeVar("T")

_PYGRUB = "pygrub"
"""However the path leads to it: it is built in."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_CPU_LIST = re.compile(r"(?:all|\^?(?:nodes?:)?\d{1,6}(?:-\d{1,6})?|nodes?:all)")

_BUILDERS = {"hvm": DomainType.HVM, "generic": DomainType.PV}


def interpret(
    settings: Mapping[str, Setting], source: str
) -> tuple[DomainConfig, tuple[Problem, ...]]:
    """The domain that the settings describe, and warnings; ConfigError with all that is wrong."""
    reader = Reader(_without_aliases(settings), source)
    _check_keys(reader, settings)
    config = _domain_config(reader)
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: problem.position[1:]))
    return config, tuple(reader.warnings)


def _without_aliases(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    renamed = {ALIASES[key]: settings[key] for key in ALIASES if key in settings}
    return renamed | dict(settings)


def _check_keys(reader: Reader, settings: Mapping[str, Setting]) -> None:
    for key, setting in settings.items():
        effect = KEYS.get(key)
        if effect is None:
            near = nearest_key(key)
            hint = f" (did you mean '{near}'?)" if near else ""
            reader.error(key, f"unknown key{hint}")
        elif effect is Effect.PENDING and not _asks_for_nothing(setting.value):
            reader.warn(key, "is accepted but has no effect yet")
        elif effect is Effect.OBSOLETE:
            reader.warn(key, "belongs to xm and is ignored, as by xl")


def _asks_for_nothing(value: Value) -> bool:
    """Whether it is an empty list, as in the ``vif=[]`` of many a file."""
    return isinstance(value, ListValue) and not value.items


def _domain_config(reader: Reader) -> DomainConfig:
    kind = _type(reader)
    memory, maxmem = _memory(reader)
    vcpus = reader.number("vcpus", 1, 1, MAX_VCPUS)
    maxvcpus = reader.number("maxvcpus", vcpus, 1, MAX_VCPUS)
    if maxvcpus < vcpus:
        reader.error("maxvcpus", f"{maxvcpus} is less than vcpus, which is {vcpus}")
    return DomainConfig(
        name=_name(reader),
        type=kind,
        uuid=_uuid(reader),
        kernel=_kernel(reader, kind),
        ramdisk=reader.string("ramdisk"),
        firmware=_firmware(reader, kind),
        cmdline=_cmdline(reader),
        memory=memory,
        maxmem=maxmem,
        vcpus=vcpus,
        maxvcpus=maxvcpus,
        cpus=_affinity(reader, "cpus", maxvcpus),
        cpus_soft=_affinity(reader, "cpus_soft", maxvcpus),
        cpu_weight=reader.number("cpu_weight", 256, 1, 65535),
        cap=reader.number("cap", 0, 0, 100 * maxvcpus),
        pool=reader.string("pool") or "Pool-0",
        on_poweroff=reader.choice("on_poweroff", Action.DESTROY),
        on_reboot=reader.choice("on_reboot", Action.RESTART),
        on_watchdog=reader.choice("on_watchdog", Action.DESTROY),
        on_crash=reader.choice("on_crash", Action.DESTROY),
        on_soft_reset=reader.choice("on_soft_reset", Action.SOFT_RESET),
        max_grant_frames=reader.number("max_grant_frames", 64, 1, MAX_GRANT_FRAMES),
        max_event_channels=reader.number("max_event_channels", 1023, 1, MAX_EVENT_CHANNELS - 1),
        nomigrate=reader.flag("nomigrate", False),
        bootloader=_bootloader(reader),
        bootloader_args=_bootloader_args(reader),
        boot=reader.string("boot"),
        acpi=reader.flag("acpi", True),
        apic=reader.flag("apic", True),
        serial=tuple(atom.text for atom in reader.strings_or_one("serial")),
        disk=_disks(reader),
        vif=_devices(reader, "vif", parse_nic) + _devices(reader, "vif2", parse_vif2),
        vfb=tuple(atom.text for atom in reader.strings("vfb")),
        engine=reader.choice("engine", EngineChoice.AUTO),
        cloud_init=reader.string("cloud_init"),
    )


def _name(reader: Reader) -> str:
    name = reader.string("name")
    if name is None:
        if not reader.is_list("name"):
            reader.error("name", "missing: a domain needs a name")
        return ""
    fault = domain_name.fault(name)
    if fault is not None:
        reader.error("name", fault)
    return name


def _type(reader: Reader) -> DomainType:
    kind = reader.choice("type", DomainType.PV)
    builder = reader.string("builder")
    if builder is None:
        return kind
    if builder not in _BUILDERS:
        reader.error("builder", f"expected hvm or generic, not {builder!a}")
    elif reader.given("type") and kind is not _BUILDERS[builder]:
        reader.error("builder", f"'{builder}' contradicts type='{kind}'")
    else:
        kind = _BUILDERS[builder]
        reader.warn("builder", f"is deprecated, write type='{kind}'")
    return kind


def _uuid(reader: Reader) -> str:
    text = reader.string("uuid")
    if text is None:
        return new_uuid()
    if not _UUID.fullmatch(text):
        reader.error("uuid", f"{text!a} is not a UUID")
    return text.lower()


def _kernel(reader: Reader, kind: DomainType) -> str | None:
    kernel = reader.string("kernel")
    instead = reader.given("bootloader") or reader.given("firmware") or kind is DomainType.HVM
    if kernel is None and not instead and not reader.is_list("kernel"):
        reader.error("kernel", f"missing: a domain of type {kind} needs a kernel")
    return kernel


def _firmware(reader: Reader, kind: DomainType) -> Firmware | None:
    if not reader.given("firmware"):
        return None
    if kind is DomainType.HVM:
        reader.warn("firmware", "is accepted but has no effect yet")
        return None
    firmware = reader.choice("firmware", Firmware.PVGRUB64)
    if reader.given("kernel"):
        reader.error("firmware", "both kernel and firmware are given")
    if kind is DomainType.PV and firmware is Firmware.PVGRUB32:
        reader.error("firmware", "32-bit PV guests cannot be run: use pvgrub64, or type='pvh'")
    return firmware


def _cmdline(reader: Reader) -> str:
    cmdline, root, extra = (reader.string(key) for key in ("cmdline", "root", "extra"))
    if reader.given("cmdline"):
        for key in ("root", "extra"):
            if reader.given(key):
                reader.warn(key, "is ignored, because cmdline is given")
        return cmdline or ""
    parts = [f"root={root}"] if root else []
    return " ".join([*parts, extra] if extra else parts)


def _memory(reader: Reader) -> tuple[int, int]:
    maxmem = reader.number("maxmem", MIN_MEMORY, MIN_MEMORY, MAX_MEMORY)
    memory = reader.number("memory", maxmem, MIN_MEMORY, MAX_MEMORY)
    if not reader.given("maxmem"):
        return memory, memory
    if maxmem < memory:
        reader.error("maxmem", f"{maxmem} is less than memory, which is {memory}")
    return memory, maxmem


def _affinity(reader: Reader, key: str, maxvcpus: int) -> tuple[str, ...]:
    """One CPU list for each vCPU: a single string is for all of them."""
    lists = reader.strings_or_one(key)
    for atom in lists:
        for item in atom.text.split(","):
            if not _CPU_LIST.fullmatch(item.strip()):
                reader.error(key, f"{item!a} is not a CPU or a range of CPUs", atom.position)
    texts = tuple(atom.text for atom in lists)
    return texts[:maxvcpus] if reader.is_list(key) else texts * maxvcpus


def _bootloader(reader: Reader) -> str | None:
    bootloader = reader.string("bootloader")
    if bootloader is None:
        return None
    if bootloader.rpartition("/")[2] != _PYGRUB:
        reader.error("bootloader", f"'{_PYGRUB}' is the only one, not {bootloader!a}")
    if reader.given("firmware"):
        reader.error("bootloader", "both bootloader and firmware are given")
    return bootloader


def _bootloader_args(reader: Reader) -> tuple[str, ...]:
    atoms = reader.strings_or_one("bootloader_args")
    words = [atom.text for atom in atoms]
    if not reader.is_list("bootloader_args"):
        words = [word for text in words for word in text.split()]
    try:
        options, rest = parse_options(words)
    except BootError as error:
        reader.error("bootloader_args", str(error))
    else:
        if rest or options.list_entries or options.not_really:
            reader.error("bootloader_args", "these are no options that lead to a kernel")
    return tuple(words)


def _disks(reader: Reader) -> tuple[DiskConfig, ...]:
    disks = _devices(reader, "disk", parse_disk)
    numbers: set[int] = set()
    images: dict[str, DiskConfig] = {}
    for disk in disks:
        try:
            number = device_number(disk.vdev)
        except ValueError as error:
            reader.error("disk", str(error))
            continue
        if number in numbers:
            reader.error("disk", f"two disks are called {disk.vdev}")
        elif disk.target is not None:
            other = images.setdefault(disk.target, disk)
            if other is not disk and (disk.writable or other.writable):
                where = f"{disk.target!a} is both {other.vdev} and {disk.vdev}"
                reader.error("disk", f"{where}: an image with a writer has no other user")
        numbers.add(number)
    return disks


def _devices(reader: Reader, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    devices: list[T] = []
    for atom in reader.strings(key):
        try:
            devices.append(parse(atom.text))
        except ValueError as error:
            reader.error(key, f"{error}, in {atom.text!a}", atom.position)
    return tuple(devices)
