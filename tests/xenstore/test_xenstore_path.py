"""The syntax of paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import XENSTORE_ABS_PATH_MAX
from xenolith.xenstore import path as paths
from xenolith.xenstore.errors import XenstoreError

NAMES = st.text("abcXYZ019-_@", min_size=1, max_size=5)
ABSOLUTE = st.lists(NAMES, min_size=1, max_size=6).map(lambda names: "/" + "/".join(names))


@pytest.mark.parametrize(
    "raw",
    [b"", b"//", b"/a/", b"a/", b"/a//b", b"/a b", b"/a.b", b"/\xe9", b"/a\0", b"/a\n", b"@a/"],
)
def test_malformed_paths_are_refused(raw: bytes) -> None:
    with pytest.raises(XenstoreError) as caught:
        paths.resolve(raw, "/local/domain/5")
    assert caught.value.errno == Errno.EINVAL


@given(ABSOLUTE)
def test_an_absolute_path_is_itself(path: str) -> None:
    assert paths.resolve(path.encode(), "/local/domain/5") == path


def test_a_relative_path_starts_at_home() -> None:
    assert paths.resolve(b"device/vif/0", "/local/domain/5") == "/local/domain/5/device/vif/0"
    assert paths.resolve(b"@releaseDomain/7", "/local/domain/5") == "@releaseDomain/7"
    assert paths.resolve(b"/", "/local/domain/5") == "/"


def test_the_longest_path() -> None:
    longest = b"/" + b"a" * (XENSTORE_ABS_PATH_MAX - 1)
    assert len(paths.resolve(longest, "")) == XENSTORE_ABS_PATH_MAX
    with pytest.raises(XenstoreError):
        paths.resolve(longest + b"a", "")


@given(ABSOLUTE)
def test_prefixes_are_the_chain_of_parents(path: str) -> None:
    chain = [path]
    while chain[0] != "/":
        chain.insert(0, paths.parent(chain[0]))
    assert paths.prefixes(path) == chain
    assert paths.names(path) == ["", *(prefix.rpartition("/")[2] for prefix in chain[1:])]


def test_prefixes_of_the_root_and_of_special_paths() -> None:
    assert paths.prefixes("/") == ["/"]
    assert paths.prefixes("@releaseDomain/7") == ["@releaseDomain", "@releaseDomain/7"]
    assert paths.names("/") == [""]


@given(ABSOLUTE, NAMES)
def test_child_and_parent_are_inverse(path: str, name: str) -> None:
    assert paths.parent(paths.child(path, name)) == path
    assert paths.child("/", name) == f"/{name}"


def test_a_home_does_not_count_against_the_quota() -> None:
    assert paths.quota_length("/local/domain/12345/abc") == 3
    assert paths.quota_length("/local/domain/x/abc") == len("/local/domain/x/abc")
