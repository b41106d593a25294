"""`vhd check`: whether an image and its ancestors are sound."""

from __future__ import annotations

import json
from collections.abc import Iterator

from xenolith.cli.command import ONE, parse_options
from xenolith.cli.disk_size import shown
from xenolith.cli.progress_bar import progress_bar
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_locked
from xenolith.storage.vhd.check import Report, check
from xenolith.storage.vhd.metadata import read_metadata
from xenolith.storage.vhd.parent import open_chain

NAME = "check"
SYNOPSIS = "[--json] IMAGE"
HELP = """\
Find out whether an image and its ancestors are sound
The exit status is 0 if they are, 1 if not. Nothing is changed; see 'vhd repair'.
--json                  Print the findings as JSON.
"""
SHORT = ""
LONG = {"json": "j"}


def run(arguments: list[str]) -> int:
    """Check file by file, from the image to its last ancestor."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    path = options.operands[0]
    leaf = open_locked(path, Access.READ)
    chain_error = None
    files = [leaf]
    reports = [(path, _check(leaf))]
    try:
        if reports[0][1].is_sound:
            try:
                files = open_chain(leaf)
            except ImageError as error:
                chain_error = str(error)
            reports += [(file.name, _check(file)) for file in _vhds(files[1:])]
    finally:
        for file in files:
            file.close()
    if "j" in options:
        print(json.dumps(_as_json(reports, chain_error), indent=4))
    else:
        for line in _lines(reports, chain_error):
            print(line)
    return int(chain_error is not None or not all(report.is_sound for _, report in reports))


def _check(file: ImageFile) -> Report:
    with progress_bar(file.name) as progress:
        return check(file, progress)


def _vhds(ancestors: list[ImageFile]) -> Iterator[ImageFile]:
    """The ancestors without the last one if that is raw."""
    for file in ancestors:
        try:
            read_metadata(file)
        except ImageError:
            return
        yield file


def _lines(reports: list[tuple[str, Report]], chain_error: str | None) -> Iterator[str]:
    for path, report in reports:
        if report.is_sound:
            yield f"{path}: sound, {report.allocated} blocks allocated"
        for line in report.lines():
            yield f"{path}: {line}"
        if report.unused:
            yield f"{path}: {shown(report.unused)} at the end are not used ('vhd repair' frees them)"
    if chain_error is not None:
        yield chain_error


def _as_json(reports: list[tuple[str, Report]], chain_error: str | None) -> dict[str, object]:
    return {
        "sound": chain_error is None and all(report.is_sound for _, report in reports),
        "chain-error": chain_error,
        "files": [
            {
                "filename": path,
                "sound": report.is_sound,
                "allocated-blocks": report.allocated,
                "unused-bytes": report.unused,
                "findings": [
                    {"problem": finding.problem, "text": finding.text, "block": finding.block}
                    for finding in report.findings
                ],
            }
            for path, report in reports
        ],
    }
