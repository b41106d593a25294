"""The strings of disk= and vif=: the examples of Xen's manual pages and xl's own test data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.toolstack.config.disk import DiskBackend, DiskConfig, DiskFormat, parse_disk
from xenolith.toolstack.config.nic import NicConfig, NicType, parse_nic

VOLUME = DiskConfig(vdev="hda", target="/dev/vg/guest-volume")
ISO = DiskConfig(vdev="hdc", target="/root/image.iso", cdrom=True, writable=False)
EMPTY_DRIVE = DiskConfig(vdev="hdc", format=DiskFormat.EMPTY, cdrom=True, writable=False)
IQN = "iqn.2001-05.com.equallogic:0-8a0906-23fe93404-c82797962054a96d-examplehost"


@pytest.mark.parametrize(
    ("specification", "disk"),
    [
        ("/dev/vg/guest-volume,,hda", VOLUME),
        ("/dev/vg/guest-volume,raw,hda,rw", VOLUME),
        ("format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume", VOLUME),
        ("raw:/dev/vg/guest-volume,hda,w", VOLUME),
        ("phy:/dev/vg/guest-volume,hda,w", VOLUME),
        ("file:/dev/vg/guest-volume,hda,w", VOLUME),
        ("tap:aio:/dev/vg/guest-volume,hda,w", VOLUME),
        ("tap:tapdisk:aio:/dev/vg/guest-volume,hda,w", VOLUME),
        ("/root/image.iso,,hdc,cdrom", ISO),
        ("/root/image.iso,,hdc,,cdrom", ISO),
        ("/root/image.iso,raw,hdc,devtype=cdrom", ISO),
        ("format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso", ISO),
        ("raw:/root/image.iso,hdc:cdrom,ro", ISO),
        ("devtype=cdrom,,,hdc", EMPTY_DRIVE),
        (",,hdc:cdrom,r", EMPTY_DRIVE),
        (",hdc:cdrom,r", EMPTY_DRIVE),
        ("vdev=hdc,access=r,devtype=cdrom,target=", EMPTY_DRIVE),
        (",empty,hdc:cdrom,r", EMPTY_DRIVE),
        ("vdev=hdc,access=r,devtype=cdrom,format=empty", EMPTY_DRIVE),
        ("vdev=hdc,access=r,devtype=cdrom", EMPTY_DRIVE),
        (
            "/path,vhd,xvda,w",
            DiskConfig(vdev="xvda", target="/path", format=DiskFormat.VHD),
        ),
        (
            "tap2:vhd:/path,xvda,r",
            DiskConfig(vdev="xvda", target="/path", format=DiskFormat.VHD, writable=False),
        ),
        (
            "backendtype=phy,vdev=xvdb,access=w,target=/dev/vg/guest-volume",
            DiskConfig(vdev="xvdb", target="/dev/vg/guest-volume", backendtype=DiskBackend.PHY),
        ),
        (f"iscsi:{IQN},xvda,w", DiskConfig(vdev="xvda", target=IQN, script="block-iscsi")),
        (
            f"vdev=xvda,access=w,script=block-iscsi,target={IQN}",
            DiskConfig(vdev="xvda", target=IQN, script="block-iscsi"),
        ),
        ("drbd:app01,hda,w", DiskConfig(vdev="hda", target="app01", script="block-drbd")),
        (
            "no-discard, untrusted, direct-io-safe, vdev=d1p2, target=/a,b: ",
            DiskConfig(
                vdev="d1p2", target="/a,b: ", discard=False, trusted=False, direct_io_safe=True
            ),
        ),
    ],
)
def test_disks(specification: str, disk: DiskConfig) -> None:
    assert parse_disk(specification) == disk


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("", "the vdev is missing"),
        ("foo", "the vdev is missing"),
        ("vdev=xvda", "the target is missing"),
        (
            "/a,foo,xvda",
            "unknown format 'foo' (use one of raw, qcow, qcow2, vhd, qed, vhdx, vmdk, empty)",
        ),
        ("/a,raw,xvda,rx", "unknown access 'rx' (use r, ro, w or rw)"),
        ("/a,raw,xvda,w,x", "one parameter too many: 'x'"),
        ("/a,raw,xvda,vdev=xvdb", "'vdev' is given twice"),
        ("/a,raw,xvda,target=/b", "the target is given twice"),
        ("/a,raw,xvda,colour=red", "unknown parameter 'colour'"),
        ("/a,raw,floppy", "'floppy' is not the name of a virtual disk, such as xvda"),
        ("/a,raw,xvda,devtype=tape", "unknown devtype 'tape' (use disk or cdrom)"),
        ("foo:/a,xvda,w", "unknown prefix 'foo:'"),
        ("/a,raw,xvda,specification=nvme", "unknown specification 'nvme' (use one of xen, virtio)"),
    ],
)
def test_disks_refused(specification: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_disk(specification)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("specification", "nic"),
    [
        ("", NicConfig()),
        ("mac=00:16:3E:74:3d:76", NicConfig(mac="00:16:3e:74:3d:76")),
        (
            "mac=00:16:3E:74:3d:76,model=rtl8139,bridge=xenbr0",
            NicConfig(mac="00:16:3e:74:3d:76", model="rtl8139", bridge="xenbr0"),
        ),
        (
            "type=vif, ip=10.0.0.1, script=vif-nat, vifname=v0, backend=net",
            NicConfig(
                type=NicType.VIF, ip="10.0.0.1", script="vif-nat", vifname="v0", backend="net"
            ),
        ),
        ("netdev=eth0,untrusted", NicConfig(gatewaydev="eth0", trusted=False)),
        ("devid=3,mtu=9000,vlan=10p/100+10x4", NicConfig(devid=3, mtu=9000, vlan="10p/100+10x4")),
        (
            "rate=1MB/s@20ms",
            NicConfig(rate_bytes_per_interval=20_000, rate_interval_usecs=20_000),
        ),
        (
            "rate=10Mb/s",
            NicConfig(rate_bytes_per_interval=62_500, rate_interval_usecs=50_000),
        ),
        (
            "type=user,forward=tcp:2222:22,forward=udp:[::1]:53-54:5353-5354",
            NicConfig(type=NicType.USER, forward=("tcp:2222:22", "udp:[::1]:53-54:5353-5354")),
        ),
    ],
)
def test_nics(specification: str, nic: NicConfig) -> None:
    assert parse_nic(specification) == nic


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("mac=1", "'1' is not a MAC address"),
        ("mac=01:00:00:00:00:00", "'01:00:00:00:00:00' is a multicast address"),
        ("colour=red", "unknown keyword 'colour'"),
        ("type=tun", "unknown type 'tun' (use vif, user or ioemu)"),
        ("rate=fast", "'fast' is not a rate, such as 10Mb/s or 1MB/s@20ms"),
        ("rate=0B/s", "the rate '0B/s' is out of range"),
        ("rate=1B/s@99999s", "the rate '1B/s@99999s' is out of range"),
        ("mtu=x", "mtu 'x' is not a number of at least 68"),
        ("vlan=x", "'x' is not a list of VLANs"),
        ("forward=2222:22", "'2222:22' is not a port forward, such as tcp:2222:22"),
        ("forward=tcp:0:22", "'0' are not ports"),
        ("forward=tcp:1-9:22", "'tcp:1-9:22' has more ports on one side than on the other"),
        ("forward=tcp:1.2.3.999:1:2", "'1.2.3.999' is not an address of the host"),
        ("bridge=b,type=user", "user-mode networking and its port forwards have no bridge"),
    ],
)
def test_nics_refused(specification: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_nic(specification)
    assert str(caught.value) == message


WORDS = st.sampled_from(
    ["tap:", "phy:", "/a", "xvda", "hdc:cdrom", "w", ",", "=", ":", "format=", "target=", "rate="]
)


@given(st.lists(WORDS, max_size=10).map("".join) | st.text(max_size=30))
def test_any_string_is_a_device_or_a_value_error(specification: str) -> None:
    for parse in (parse_disk, parse_nic):
        try:
            parse(specification)
        except ValueError as error:
            assert str(error)
