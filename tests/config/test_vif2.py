"""The strings of ``vif2=``: the keywords of Xen 4.0's xl, and those of ``vif=``."""

from __future__ import annotations

import pytest

from xenolith.toolstack.config.nic import NicConfig, NicProtocol, parse_nic
from xenolith.toolstack.config.vif2 import parse_vif2
from xenolith.toolstack.devices import vif, vif2

NC2 = NicProtocol.NETCHANNEL2


@pytest.mark.parametrize(
    ("specification", "nic"),
    [
        ("", NicConfig(protocol=NC2, trusted=False, filter_mac=True)),
        ("trusted=1", NicConfig(protocol=NC2)),
        ("trusted=1, filter_mac=1", NicConfig(protocol=NC2, filter_mac=True)),
        ("filter_mac=0", NicConfig(protocol=NC2, trusted=False)),
        (
            "front_mac=00:16:3E:00:00:01,back_mac=fe:ff:ff:ff:ff:ff,bridge=lan,max_bypasses=5,"
            "back_trusted=1,front_filter_mac=0,pdev=eth0,trusted=1",
            NicConfig(protocol=NC2, mac="00:16:3e:00:00:01", bridge="lan"),
        ),
        (
            "trusted=1,rate=1MB/s@20ms,devid=4",
            NicConfig(
                protocol=NC2, devid=4, rate_bytes_per_interval=20_000, rate_interval_usecs=20_000
            ),
        ),
    ],
)
def test_interfaces(specification: str, nic: NicConfig) -> None:
    assert parse_vif2(specification) == nic


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("trusted=yes", "trusted 'yes' is neither 0 nor 1"),
        ("trusted", "trusted '' is neither 0 nor 1"),
        ("front_mac=1", "'1' is not a MAC address"),
        ("colour=red", "unknown keyword 'colour'"),
    ],
)
def test_what_makes_no_sense_is_refused(specification: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_vif2(specification)
    assert str(caught.value) == message


def test_the_protocol_of_a_vif_is_a_keyword() -> None:
    assert parse_nic("protocol=netchannel2") == NicConfig(protocol=NC2)
    assert parse_nic("protocol=netif") == NicConfig()
    with pytest.raises(ValueError, match=r"unknown protocol 'virtio' \(use netif or netchannel2\)"):
        parse_nic("protocol=virtio")


def test_the_protocol_is_the_class_of_the_device() -> None:
    assert vif.kind_of(NicConfig()) == "vif"
    assert vif.kind_of(parse_vif2("")) == "vif2"
    nic = parse_vif2("front_mac=00:16:3e:00:00:01,bridge=lan")
    assert vif2.frontend_nodes(nic) == {
        "mac": "00:16:3e:00:00:01", "remote-mac": "fe:ff:ff:ff:ff:ff",
        "local-trusted": "0", "remote-trusted": "1", "filter-mac": "0",
    }  # fmt: skip
    back = vif2.backend_nodes(nic, 3)
    assert (back["remote-mac"], back["filter-mac"], back["max-bypasses"], back["bridge"]) == (
        "00:16:3e:00:00:01", "1", "0", "lan",
    )  # fmt: skip
