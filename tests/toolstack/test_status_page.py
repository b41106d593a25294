"""The status page, through its file."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xenolith.abi.vcpu import Runstate
from xenolith.toolstack import status_page
from xenolith.toolstack.status_page import StatusPage, VcpuStatus


@pytest.fixture
def page_fd(tmp_path: Path) -> Iterator[int]:
    fd = status_page.create(str(tmp_path / "1.status"))
    yield fd
    os.close(fd)


def test_a_new_page_says_nothing(page_fd: int) -> None:
    assert status_page.read(page_fd) == (False, None, 0, 0, [])


def test_a_reader_sees_what_the_writer_set(page_fd: int) -> None:
    page = StatusPage(page_fd)
    page.set_paused()
    page.set_memory(131072)
    page.set_max_memory(262144)
    page.set_vcpus(2)
    page.set_vcpu(1, Runstate.blocked, 1500)
    status = status_page.read(page_fd)
    assert status == (
        True,
        None,
        131072,
        262144,
        [VcpuStatus(Runstate.offline, 0), VcpuStatus(Runstate.blocked, 1500)],
    )
    page.clear_paused()
    page.set_shutdown(0)
    status = status_page.read(page_fd)
    assert (status.paused, status.shutdown_reason) == (False, 0)


def test_the_time_of_a_running_vcpu_goes_on_without_writes(page_fd: int) -> None:
    page = StatusPage(page_fd)
    page.set_vcpus(1)
    page.set_vcpu(0, Runstate.running, 1_000_000_000)
    first = status_page.read(page_fd).vcpus[0].run_time_ns
    time.sleep(0.02)
    second = status_page.read(page_fd).vcpus[0].run_time_ns
    assert first >= 1_000_000_000
    assert 20_000_000 <= second - first < 10_000_000_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=status_page.PAGE_BYTES))
def test_no_contents_of_the_page_harm_a_reader(page_fd: int, contents: bytes) -> None:
    os.ftruncate(page_fd, 0)
    os.pwrite(page_fd, contents, 0)
    status = status_page.read(page_fd)
    assert len(status.vcpus) <= status_page.MAX_VCPUS


def test_a_page_for_which_there_is_no_room_is_told_by_its_name(tmp_path: Path) -> None:
    path = str(tmp_path / "1.status")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (status_page.PAGE_BYTES - 1, before[1]))
    try:
        with pytest.raises(OSError, match=r".+") as refusal:
            status_page.create(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refusal.value.filename == path
