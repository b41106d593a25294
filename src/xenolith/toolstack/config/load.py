"""Interprets the configuration of a domain: text, and settings from the command line.

Kernel, ramdisk and user data are looked for in the directories of the source, in their order.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from xenolith.builder.grub_images import PACKAGE, GrubImage, find_grub
from xenolith.toolstack.config.disk import DiskConfig
from xenolith.toolstack.config.domain_config import DomainConfig, DomainType
from xenolith.toolstack.config.errors import ConfigError, Problem
from xenolith.toolstack.config.interpret import interpret
from xenolith.toolstack.config.parser import Setting, combine, parse
from xenolith.toolstack.config_source import COMMAND_LINE, ConfigAnswer, ConfigSource


class Loaded(NamedTuple):
    """A configuration, and what its author should know about it."""

    config: DomainConfig
    warnings: tuple[Problem, ...]


def settings_of(source: ConfigSource) -> dict[str, Setting]:
    """The settings that a source makes, whatever they mean. ConfigError says all that is wrong."""
    assignments: list[Setting] = []
    problems: list[Problem] = []
    # An override stands on line 0, which positions do not show.
    overrides = [(override, COMMAND_LINE, 0) for override in source.overrides]
    for part, name, first_line in [(source.text, source.name, 1), *overrides]:
        try:
            assignments += parse(part, name, first_line)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return combine(assignments)


def load(source: ConfigSource) -> Loaded:
    """The domain that a source describes. ConfigError says all that is wrong."""
    settings = settings_of(source)
    config, warnings = interpret(settings, source.name)
    return Loaded(_with_files_found(config, settings, source.directories), warnings)


def loads(text: str, name: str = "<string>", overrides: Sequence[str] = ()) -> Loaded:
    """The same from text; ``name`` is what errors call it."""
    return load(ConfigSource(text, name, tuple(overrides), (os.getcwd(),)))


def answer(source: ConfigSource) -> ConfigAnswer:
    """The same in plain types, for whoever asks over a socket."""
    try:
        config, warnings = load(source)
    except ConfigError as error:
        return ConfigAnswer(None, [str(problem) for problem in error.problems])
    return ConfigAnswer(config.to_dict(), [str(warning) for warning in warnings])


def _with_files_found(
    config: DomainConfig, settings: dict[str, Setting], directories: Sequence[str]
) -> DomainConfig:
    problems: list[Problem] = []
    found: dict[str, str] = {}
    if config.firmware is not None:
        grub = find_grub(GrubImage.PV if config.type is DomainType.PV else GrubImage.PVH)
        if grub is not None:
            found["kernel"] = str(grub)
        else:
            text = f"key 'firmware': GRUB is not there: make grub fetches it, or install {PACKAGE}"
            problems.append(Problem(settings["firmware"].position, text))
    for key in ("kernel", "ramdisk", "cloud_init"):
        name: str | None = getattr(config, key)
        if name is None:
            continue
        if config.bootloader is not None and key != "cloud_init":
            # It is in the guest's disk, as for libxl.
            found[key] = name
            continue
        try:
            found[key] = _find_file(name, directories)
        except ValueError as error:
            problems.append(Problem(settings[key].position, f"key '{key}': {error}"))
    if problems:
        raise ConfigError(problems)
    return dataclasses.replace(
        config,
        kernel=found.get("kernel"),
        ramdisk=found.get("ramdisk"),
        cloud_init=found.get("cloud_init"),
        disk=tuple(_with_place(disk, directories) for disk in config.disk),
    )


def _find_file(name: str, directories: Sequence[str]) -> str:
    """The first file of this name that can be read; ValueError says what there is instead."""
    candidates = [os.path.normpath(os.path.join(place, name)) for place in directories]
    fault = f"there is no file {' nor '.join(map(ascii, dict.fromkeys(candidates)))}"
    for candidate in candidates:
        try:
            mode = os.stat(candidate).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            fault = f"{candidate!a} cannot be read: {error.strerror}"
            continue
        if not stat.S_ISREG(mode):
            fault = f"{candidate!a} is not a regular file"
        elif not os.access(candidate, os.R_OK, effective_ids=True):
            fault = f"{candidate!a} cannot be read: {os.strerror(errno.EACCES)}"
        else:
            return candidate
    raise ValueError(fault)


def _with_place(disk: DiskConfig, directories: Sequence[str]) -> DiskConfig:
    """A disk whose target is absolute; whether it can be opened is found out when it is."""
    if disk.target is None:
        return disk
    candidates = [os.path.normpath(os.path.join(place, disk.target)) for place in directories]
    found = next((path for path in candidates if os.path.exists(path)), candidates[0])
    return dataclasses.replace(disk, target=found)
