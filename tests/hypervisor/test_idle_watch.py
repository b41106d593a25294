"""When a domain counts as having become idle."""

from __future__ import annotations

from xenolith.hypervisor.idle_watch import IdleWatch

SECOND = 1_000_000_000


class Host:
    def __init__(self) -> None:
        self.times: list[int] = []
        self.now = 0
        self.watch = IdleWatch(lambda: self.times.append(self.now // SECOND))

    def live(self, seconds: int, share: float) -> None:
        """Sleep and run ten times a second."""
        for _ in range(seconds * 10):
            self.watch.going_to_sleep(self.now)
            self.watch.charge(int(share * SECOND / 10))
            self.now += SECOND // 10


def test_it_tells_once_when_a_start_is_over() -> None:
    host = Host()
    host.live(6, 0.9)
    assert host.times == []
    host.live(60, 0.01)
    assert len(host.times) == 1
    assert 6 < host.times[0] <= 10


def test_it_tells_again_after_another_busy_time() -> None:
    host = Host()
    host.live(10, 0.001)
    host.live(20, 0.1)
    host.live(10, 0.001)
    assert len(host.times) == 1, "a little work in between is none to tidy up after"
    host.live(5, 0.5)
    host.live(10, 0.001)
    assert len(host.times) == 2


def test_a_long_sleep_counts() -> None:
    host = Host()
    host.watch.going_to_sleep(0)
    host.watch.charge(SECOND)
    host.now = 100 * SECOND
    host.watch.going_to_sleep(host.now)
    assert host.times == [100]
