"""The meaning of an xlcpupool.cfg(5) file: a CPU pool that `xl cpupool-create` is to make."""

from __future__ import annotations

import os
from dataclasses import dataclass

from xenolith.toolstack.config.errors import ConfigError
from xenolith.toolstack.config.load import settings_of
from xenolith.toolstack.config.reader import Reader, parse_number
from xenolith.toolstack.config_source import COMMAND_LINE, ConfigSource

SCHEDULER = "credit"

_KEYS = ("name", "sched", "nodes", "cpus")


@dataclass(frozen=True)
class CpuPoolConfig:
    """A pool: of the free CPUs of NUMA nodes, else of those that are listed, else of none."""

    name: str
    nodes: tuple[int, ...] = ()
    cpus: tuple[int, ...] = ()
    cpu_list: str | None = None
    """The CPUs in the notation of `cpus` in xl.cfg."""


def load_cpupool(source: ConfigSource) -> CpuPoolConfig:
    """The pool that a source describes, which is called after its file if it has no name. ConfigError."""
    settings = settings_of(source)
    reader = Reader(settings, source.name)
    for key in settings:
        if key not in _KEYS:
            reader.error(key, f"unknown key, those of a CPU pool are {', '.join(_KEYS)}")
    name = reader.string("name") or ""
    if not name and source.name == COMMAND_LINE:
        reader.error("name", "missing: a CPU pool needs a name")
    scheduler = reader.string("sched") or SCHEDULER
    if scheduler != SCHEDULER:
        reader.error("sched", f"there is no scheduler but {SCHEDULER}, so not {scheduler!a}")
    nodes = _numbers(reader, "nodes")
    in_words = not reader.is_list("cpus")
    cpu_list = reader.string("cpus") if in_words else None
    cpus = () if in_words else _numbers(reader, "cpus")
    if reader.problems:
        raise ConfigError(reader.problems)
    return CpuPoolConfig(name or os.path.basename(source.name), nodes, cpus, cpu_list)


def _numbers(reader: Reader, key: str) -> tuple[int, ...]:
    numbers = []
    for atom in reader.strings_or_one(key):
        number = parse_number(atom.text)
        if number is None or number < 0:
            reader.error(key, f"expected a number, not {atom.text!a}", atom.position)
        else:
            numbers.append(number)
    return tuple(numbers)
