"""Captures of packets are sound at every moment, whoever reads them."""

from __future__ import annotations

import os
import socket

import pytest
from packets import udp4

from xenolith.net import pcap
from xenolith.net.capture import Capture
from xenolith.net.frame import Frame


@pytest.fixture
def frame() -> Frame:
    return Frame(udp4(b"data"))


def test_a_capture_without_frames_is_one_that_can_be_read(frame: Frame) -> None:
    ours, reader = socket.socketpair()
    capture = Capture(ours.detach())
    with reader:
        assert reader.recv(1 << 16, socket.MSG_DONTWAIT) == pcap.file_header()
        assert capture.add(frame)
        record = reader.recv(1 << 16, socket.MSG_DONTWAIT)
        assert record[16:] == frame.data
    capture.close()


def test_a_reader_that_has_gone_is_noticed(frame: Frame) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    capture = Capture(writer)
    assert not capture.add(frame)
    capture.close()
