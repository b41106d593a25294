"""The handshake of xenbus over a real xenstore: states, hostile nodes, restarts of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from xenbus_host import BACKEND, DOMID, FRONTEND, RecordingBackend, XenbusError, XenbusHost

from xenolith.abi.xenbus import XenbusState
from xenolith.backends.xenbus import Nodes, flag, number
from xenolith.xenstore.permissions import Permission

S = XenbusState


@pytest.fixture
def host() -> Iterator[XenbusHost]:
    made = XenbusHost()
    yield made
    made.close()


@pytest.fixture
def backend(host: XenbusHost) -> RecordingBackend:
    made = RecordingBackend()
    host.bus.add("vbd", 51712, made)
    host.expect_state(S.InitWait)
    return made


def test_a_device_is_offered_connected_and_closed(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    assert host.read("feature-test") == "1"
    assert backend.calls == []
    host.frontend(S.Initialised, ring_ref=8, event_channel=9)
    host.expect_state(S.Connected)
    assert host.read("sectors") == "8"
    assert backend.calls == [{"state": "3", "ring-ref": "8", "event-channel": "9"}]
    host.frontend(S.Connected)
    host.settle()
    assert len(backend.calls) == 1
    host.frontend(S.Closing)
    host.expect_state(S.Closing)
    host.frontend(S.Closed)
    host.expect_state(S.Closed)
    assert "close" not in backend.calls
    host.frontend(S.Initialising)
    host.expect_state(S.InitWait)
    host.frontend(S.Connected, ring_ref=10)
    host.expect_state(S.Connected)
    assert backend.calls[-1]["ring-ref"] == "10"


def test_a_frontend_reads_its_backend_and_cannot_write_it(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.frontend(S.Initialised)
    host.expect_state(S.Connected)
    guest = host.store.database.domains.get(DOMID)
    permissions = host.store.get_permissions(f"{BACKEND}/sectors")
    assert guest.may(1, permissions)
    assert not guest.may(2, permissions)


def test_the_queues_of_a_frontend_are_read_with_it(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.store.write(f"{FRONTEND}/queue-0/ring-ref0", "17")
    host.store.write(f"{FRONTEND}/queue-0/too/deep", "1")
    host.frontend(S.Initialised)
    host.expect_state(S.Connected)
    assert backend.calls[0]["queue-0/ring-ref0"] == "17"
    assert "queue-0/too/deep" not in backend.calls[0]


def test_what_is_under_way_ends_before_the_device_closes(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.frontend(S.Connected)
    host.expect_state(S.Connected)
    backend.waiting = []
    host.frontend(S.Closing)
    host.run_until(lambda: bool(backend.waiting))
    host.frontend(S.Closed)
    host.settle()
    assert host.read("state") == str(S.Connected.value)
    waiting, backend.waiting = backend.waiting, None
    waiting[0]()
    host.expect_state(S.Closed)


def test_a_frontend_that_starts_over_without_closing_gets_a_new_connection(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.frontend(S.Connected, ring_ref=1)
    host.expect_state(S.Connected)
    host.frontend(S.Initialising)
    host.expect_state(S.InitWait)
    assert backend.calls[-1] == "disconnect"
    host.frontend(S.Connected, ring_ref=2)
    host.expect_state(S.Connected)
    assert backend.calls[-1]["ring-ref"] == "2"


def test_a_refused_frontend_is_closed_and_may_try_again(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    backend.refusal = XenbusError("there is no ring-ref")
    host.frontend(S.Initialised)
    host.expect_state(S.Closing)
    assert host.lines == [f"{BACKEND}: there is no ring-ref"]
    assert backend.calls[-1] == "disconnect"
    backend.refusal = None
    host.frontend(S.Closed)
    host.expect_state(S.Closed)
    host.frontend(S.Initialising)
    host.expect_state(S.InitWait)
    host.frontend(S.Initialised)
    host.expect_state(S.Connected)


@pytest.mark.parametrize("state", ["", "99", "-1", "four", "4" * 2000, "\N{SUPERSCRIPT TWO}"])
def test_a_state_that_is_none_closes_the_device(
    host: XenbusHost, backend: RecordingBackend, state: str
) -> None:
    host.frontend(S.Connected)
    host.expect_state(S.Connected)
    host.store.write(f"{FRONTEND}/state", state)
    host.expect_state(S.Closed)


def test_a_frontend_that_is_removed_closes_the_device(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.frontend(S.Connected)
    host.expect_state(S.Connected)
    host.store.rm(FRONTEND)
    host.expect_state(S.Closed)


def test_a_removed_device_writes_nothing_any_more(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.frontend(S.Connected)
    host.expect_state(S.Connected)
    gone: list[bool] = []
    device = host.bus.find("vbd", 51712)
    host.bus.remove("vbd", 51712, lambda: gone.append(True))
    assert backend.calls[-2:] == ["disconnect", "close"]
    assert gone == [True]
    with pytest.raises(ValueError, match="no vbd 51712"):
        host.bus.find("vbd", 51712)
    host.store.rm(BACKEND)
    device.update({"sectors": "16"})
    host.settle()
    assert not host.store.exists(BACKEND)
    host.bus.add("vbd", 51712, RecordingBackend())


def test_an_update_has_the_frontend_look(host: XenbusHost, backend: RecordingBackend) -> None:
    host.frontend(S.Connected)
    host.expect_state(S.Connected)
    seen: list[str] = []
    host.store.watch(f"{BACKEND}/state", seen.append)
    host.settle()
    seen.clear()
    host.bus.update("vbd", 51712, {"sectors": "16"})
    host.run_until(lambda: bool(seen))
    assert host.read("sectors") == "16"


def test_a_connected_frontend_is_heard_when_it_writes_a_watched_node(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.store.write(f"{FRONTEND}/wish", "too early")
    host.settle()
    assert backend.calls == []
    host.frontend(S.Connected)
    host.expect_state(S.Connected)
    host.store.write(f"{FRONTEND}/wish", "1")
    host.run_until(lambda: ("changed", "1") in backend.calls)
    host.store.write(f"{FRONTEND}/wish", "nonsense")
    host.run_until(lambda: any("makes no sense" in line for line in host.lines))
    assert host.read("state") == str(S.Connected.value)
    host.frontend(S.Closed)
    host.expect_state(S.Closed)
    calls = list(backend.calls)
    host.store.write(f"{FRONTEND}/wish", "2")
    host.settle()
    assert backend.calls == calls


def test_a_frontend_that_writes_without_end_is_read_once_at_a_time(
    host: XenbusHost, backend: RecordingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at a frontend is up to 2000 requests to the daemon, for one of the guest's."""
    for index in range(500):
        host.store.write(f"{FRONTEND}/{index}", "x")
    host.frontend(S.Connected)
    host.expect_state(S.Connected)
    under_way: list[int] = [0]
    read = host.client.snapshot

    def counted(path: str, then: Callable[[Nodes | None], None]) -> None:
        def done(nodes: Nodes | None) -> None:
            under_way.append(under_way[-1] - 1)
            then(nodes)

        under_way.append(under_way[-1] + 1)
        read(path, done)

    monkeypatch.setattr(host.client, "snapshot", counted)
    for wish in range(50):
        host.store.write(f"{FRONTEND}/wish", str(wish))
        host.turn()
    host.run_until(lambda: ("changed", "49") in backend.calls)
    assert max(under_way) == 1


def test_a_new_daemon_finds_what_the_frontend_did_meanwhile(
    host: XenbusHost, backend: RecordingBackend
) -> None:
    host.restart_daemon()
    host.frontend(S.Initialised, ring_ref=3)
    host.settle()
    assert backend.calls == []
    host.connect()
    host.expect_state(S.Connected)
    host.restart_daemon()
    host.bus.update("vbd", 51712, {"sectors": "99"})
    host.settle()
    host.connect()
    host.run_until(lambda: host.read("sectors") == "99")
    host.frontend(S.Closing)
    host.expect_state(S.Closing)


def test_backends_reach_nothing_but_their_devices(host: XenbusHost) -> None:
    other = f"/local/domain/0/backend/vbd/{DOMID}/51728"
    host.store.write(f"{other}/state", "1")
    host.store.set_permissions(other, [Permission(0, 0)])
    for path in ("/tool", "/vm", "/local/domain/6/name", other):
        host.client.write(f"{path}/here", "1")
    found: list[object] = []
    host.client.snapshot(other, found.append)
    host.run_until(lambda: bool(found))
    assert found == [None]
    for path in ("/tool", "/vm", "/local/domain/6/name", other):
        assert not host.store.exists(f"{path}/here")


def test_a_huge_directory_is_read_in_part(host: XenbusHost, backend: RecordingBackend) -> None:
    for index in range(300):
        for name in ("a", "b", "c", "d"):
            host.store.write(f"{FRONTEND}/{index}/{name}", "x")
    host.frontend(S.Initialised)
    host.expect_state(S.Connected)
    assert 500 < len(backend.calls[0]) < 2500


@pytest.mark.parametrize(
    ("text", "read"),
    [("0", lambda nodes: number(nodes, "x")), ("1", lambda nodes: flag(nodes, "x"))],
)
def test_numbers_are_read(text: str, read: Callable[[dict[str, str]], int]) -> None:
    assert read({"x": text}) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "0x10", "1" * 21, "\N{SUPERSCRIPT TWO}", " 1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(XenbusError, match="not a number"):
        number({"x": text}, "x")


def test_absent_numbers_have_a_default_or_are_refused() -> None:
    assert number({}, "x", 7) == 7
    assert flag({}, "x") is False
    with pytest.raises(XenbusError, match="no x"):
        number({}, "x")
