"""kill -9 at any moment: what was acknowledged stays, what was not is whole or absent."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from xenstore_harness import ServerProcess

from xenolith.abi.errno import Errno
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.tools.client import Client


class Writer(threading.Thread):
    """Writes and commits pairs as fast as it can until the server dies."""

    def __init__(self, client: Client, name: str) -> None:
        super().__init__()
        self.client = client
        self.path = f"/{name}"
        self.acknowledged = 0

    def run(self) -> None:
        try:
            while True:
                number = self.acknowledged + 1
                self.client.write(f"{self.path}/single", b"%d" % number)
                transaction = self.client.start_transaction()
                self.client.write(f"{self.path}/left", b"%d" % number, transaction)
                self.client.write(f"{self.path}/right", b"%d" % number, transaction)
                self.client.commit(transaction)
                self.acknowledged = number
        except OSError:
            self.client.close()


@pytest.mark.parametrize("delay", [0.05, 0.12, 0.21, 0.33])
def test_acknowledged_writes_survive_and_transactions_are_whole(
    tmp_path: Path, delay: float
) -> None:
    for _ in range(2):
        server = ServerProcess(tmp_path)
        writers = [Writer(server.connect(), f"writer-{number}") for number in range(3)]
        for writer in writers:
            writer.start()
        time.sleep(delay)
        server.kill()
        for writer in writers:
            writer.join()
        server = ServerProcess(tmp_path)
        client = server.connect()
        for writer in writers:
            assert writer.acknowledged > 0
            kept = [
                int(client.read(f"{writer.path}/{name}")) for name in ("single", "left", "right")
            ]
            assert kept[1] == kept[2]
            assert kept[0] - kept[1] in (0, 1)
            assert writer.acknowledged <= kept[1] <= writer.acknowledged + 1
        client.close()
        server.kill()


def test_a_domain_goes_on_after_a_kill(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, guests=[5])
    dom0, guest = server.connect(), server.guests[5]
    dom0.write("/local/domain/5/control/shutdown", b"")
    dom0.set_permissions("/local/domain/5", ["n0", "r5"])
    dom0.set_permissions("/local/domain/5/control/shutdown", ["n5"])
    guest.watch("control/shutdown", "token")
    assert guest.next_event() == (b"control/shutdown", b"token")
    transaction = guest.start_transaction()
    guest.write("control/shutdown", b"lost", transaction)
    server.kill()
    dom0.close()

    server = ServerProcess(tmp_path, guests=[5])
    dom0, guest = server.connect(), server.guests[5]
    assert guest.next_event() == (b"control/shutdown", b"token")
    with pytest.raises(XenstoreError) as caught:
        guest.commit(transaction)
    assert caught.value.errno == Errno.EAGAIN
    assert guest.read("control/shutdown") == b""
    dom0.write("/local/domain/5/control/shutdown", b"poweroff")
    while guest.next_event() != (b"control/shutdown", b"token"):
        pass
    assert guest.read("control/shutdown") == b"poweroff"
    transaction = guest.start_transaction()
    guest.write("control/shutdown", b"", transaction)
    guest.commit(transaction)
    assert dom0.read("/local/domain/5/control/shutdown") == b""
    dom0.close()
    server.kill()
