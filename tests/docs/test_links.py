"""Links lead somewhere, and every page can be reached."""

from __future__ import annotations

import os
import re

import pytest

from .markdown import PAGES, ROOT, Page

EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def resolve(page: Page, link: str) -> tuple[str, str]:
    """The path below the root that a relative link of a page leads to, and its anchor."""
    path, _, anchor = link.partition("#")
    target = os.path.normpath(os.path.join(os.path.dirname(page.name), path))
    return target if path else page.name, anchor


def relative_links(page: Page) -> list[str]:
    return [link for link in page.links if "://" not in link]


@EVERY_PAGE
def test_relative_links_lead_to_files_and_headings(page: Page) -> None:
    for link in relative_links(page):
        target, anchor = resolve(page, link)
        assert (ROOT / target).is_file(), f"{link} leads nowhere"
        if anchor:
            assert anchor in Page(target).anchors, f"{target} has no heading for #{anchor}"


@EVERY_PAGE
def test_other_links_are_of_the_web(page: Page) -> None:
    for link in set(page.links) - set(relative_links(page)):
        assert link.startswith("https://"), link


def test_every_page_can_be_reached_from_the_first() -> None:
    seen, ahead = set(), ["README.md"]
    while ahead:
        page = Page(ahead.pop())
        if page.name not in seen and page in PAGES:
            seen.add(page.name)
            ahead += [resolve(page, link)[0] for link in relative_links(page)]
    assert seen == {page.name for page in PAGES}


def test_the_index_lists_every_page_of_its_directory() -> None:
    index = Page("docs/index.md")
    listed = {resolve(index, link)[0] for link in relative_links(index)}
    assert listed >= {page.name for page in PAGES if page.name.startswith("docs/")} - {index.name}


def test_the_code_names_pages_that_exist() -> None:
    named = set()
    for directory in ("src", "tests", "guests", "examples", "scripts"):
        for path in ROOT.glob(f"{directory}/**/*"):
            if path.suffix in (".py", ".c", ".h", ".S", ".cfg", "") and path.is_file():
                named |= set(re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text()))
    assert "docs/daemon.md" in named
    assert named <= {page.name for page in PAGES}
