"""`make bench`: one table of our figures, the peer's from the same run, the ratios and the targets.

The exit status is 1 if a target is missed or a section failed.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import host_facts, table
from bench.contest import FULL, QUICK, Contest, Effort
from bench.errors import BenchError
from bench.figure import Figure
from bench.images import Images
from bench.qemu import Qemu
from bench.report import to_json
from bench.sections import OPTIONAL, SECTIONS
from bench.toolstack import running_toolstack
from xenolith.builder.errors import BuildError

INTERRUPTED = 130

_ALL = {**SECTIONS, **OPTIONAL}

_NEED_PACKAGES = Path(__file__).resolve().parent.parent / "scripts" / "need-packages"
_PACKAGES = ("qemu-system-x86", "qemu-utils", "passt", "gcc", "libc6-dev", "libxen-dev")


def main() -> int:
    """Run the sections that are asked for; return the exit status."""
    options = _parser().parse_args()
    # So that whoever ends us ends the guests as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sections = options.only or list(SECTIONS)
    # What cannot be installed is reported, and missing from the table.
    subprocess.run([_NEED_PACKAGES, *_PACKAGES], check=False)
    facts = host_facts.facts()
    for kind, fact in facts.items():
        print(f"{kind:<10} {fact}")
    try:
        with tempfile.TemporaryDirectory(prefix="xenolith-bench-") as directory:
            figures, failed = _measure(Path(directory), sections, options.effort)
    except BenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.json is not None:
        options.json.write_text(to_json(facts, figures))
    return int(failed or any(figure.met is False for figure in figures))


def _measure(directory: Path, sections: Sequence[str], effort: Effort) -> tuple[list[Figure], bool]:
    """Measure and print section by section; return the figures, and whether a section failed."""
    figures: list[Figure] = []
    failed = False
    images = Images(directory)
    peer = Qemu(directory, images.unpack) if Qemu.is_installed() else None
    print(f"\n{table.header()}", flush=True)
    with running_toolstack(directory) as ours:
        contest = Contest(ours, peer, images, effort)
        for name in sections:
            try:
                for figure in _with_progress(name, _ALL[name](contest)):
                    figures.append(figure)
                    print(table.row(figure), flush=True)
            except (BenchError, BuildError) as error:
                failed = True
                print(table.failure(name, str(error)), flush=True)
    return figures, failed


def _with_progress(section: str, figures: Iterator[Figure]) -> Iterator[Figure]:
    """Say on a terminal what is being measured, in the line where its figure will be."""
    shown, wiped = (f"{section} ...\r", "\033[K") if sys.stderr.isatty() else ("", "")
    while True:
        print(shown, end="", file=sys.stderr, flush=True)
        try:
            figure = next(figures, None)
        finally:
            print(wiped, end="", file=sys.stderr, flush=True)
        if figure is None:
            return
        yield figure


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", dest="effort", action="store_const", const=QUICK, default=FULL,
        help="fewer and shorter runs, and no crowd of domains",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", choices=_ALL, metavar="SECTION",
        help=f"measure this section only; may be repeated ({', '.join(_ALL)})",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
