"""Every request about nodes, by three domains, against a model that is a plain dictionary."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from xenstore_harness import Harness, Reply

from xenolith.abi.errno import Errno
from xenolith.xenstore.permissions import render

OK = b"OK\0"
DOMAINS = st.sampled_from([0, 1, 2])
PATHS = st.lists(st.sampled_from("ab"), max_size=3).map(lambda names: "/" + "/".join(names))
VALUES = st.text("xyz", max_size=3)
ENTRIES = st.builds(
    lambda letter, domid: f"{letter}{domid}", st.sampled_from("nrwb"), st.sampled_from([0, 1, 2])
)
PERMISSIONS = st.lists(ENTRIES, min_size=1, max_size=3)


class Model:
    """The rules of docs/misc/xenstore.txt, written down without any thought of speed."""

    def __init__(self) -> None:
        self.values = {"/": "", "/tool": "", "/tool/xenstored": ""}
        self.permissions = {path: ["n0"] for path in self.values}

    def above(self, path: str) -> str:
        return path.rsplit("/", 1)[0] or "/"

    def children(self, path: str) -> list[str]:
        below = path.rstrip("/") + "/"
        return [
            node[len(below) :]
            for node in self.values
            if node.startswith(below) and node != "/" and "/" not in node[len(below) :]
        ]

    def letters(self, domid: int, path: str) -> str:
        """What a domain may do with an existing node: r, w, and o if it is like the owner."""
        owner, *others = self.permissions[path]
        if domid in (0, int(owner[1:])):
            return "rwo"
        for entry in [entry for entry in others if int(entry[1:]) == domid] + [owner]:
            return {"n": "", "b": "rw"}.get(entry[0], entry[0])
        raise AssertionError

    def error(self, domid: int, path: str, needed: str) -> Errno | None:
        """Why the domain cannot have the node, if it cannot."""
        if path in self.values:
            allowed = set(needed) <= set(self.letters(domid, path))
            return None if allowed else Errno.EACCES
        ancestor = path
        while ancestor not in self.values:
            ancestor = self.above(ancestor)
        may_know = set(needed) & set(self.letters(domid, ancestor))
        return Errno.ENOENT if may_know else Errno.EACCES

    def create(self, domid: int, path: str) -> None:
        if path in self.values:
            return
        self.create(domid, self.above(path))
        owner, *others = self.permissions[self.above(path)]
        self.values[path] = ""
        self.permissions[path] = [f"{owner[0]}{domid}" if domid else owner, *others]

    def write(self, domid: int, path: str, value: str) -> Reply:
        error = self.error(domid, path, "w")
        if error not in (None, Errno.ENOENT):
            return error
        self.create(domid, path)
        self.values[path] = value
        return OK

    def mkdir(self, domid: int, path: str) -> Reply:
        error = self.error(domid, path, "w")
        if error not in (None, Errno.ENOENT):
            return error
        self.create(domid, path)
        return OK

    def rm(self, domid: int, path: str) -> Reply:
        if path == "/":
            return Errno.EINVAL
        error = self.error(domid, path, "w")
        if error == Errno.ENOENT and self.above(path) in self.values:
            return OK
        if error is not None:
            return error
        for node in list(self.values):
            if node == path or node.startswith(path + "/"):
                del self.values[node], self.permissions[node]
        return OK

    def set_perms(self, domid: int, path: str, permissions: list[str]) -> Reply:
        error = self.error(domid, path, "wo")
        if error is not None:
            return error
        if domid and permissions[0][1:] != self.permissions[path][0][1:]:
            return Errno.EPERM
        self.permissions[path] = permissions
        return OK

    def release(self, domid: int) -> None:
        for node in list(self.values):
            owner = self.permissions.get(node, ["n0"])[0]
            if node != "/" and int(owner[1:]) == domid:
                self.rm(0, node)
        for node, (owner, *others) in self.permissions.items():
            kept = f"{owner[0]}0" if int(owner[1:]) == domid else owner
            self.permissions[node] = [kept, *(e for e in others if int(e[1:]) != domid)]


class StoreAgainstModel(RuleBasedStateMachine):
    """The same requests to both; any difference in an answer is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.harness = Harness(Path(self.directory.name))
        self.model = Model()
        self.connect()

    def teardown(self) -> None:
        self.harness.store.close()
        self.directory.cleanup()

    def connect(self) -> None:
        self.clients = [self.harness.client(domid) for domid in range(3)]

    @rule(domid=DOMAINS, path=PATHS, value=VALUES)
    def write(self, domid: int, path: str, value: str) -> None:
        assert self.clients[domid].write(path, value) == self.model.write(domid, path, value)

    @rule(domid=DOMAINS, path=PATHS)
    def mkdir(self, domid: int, path: str) -> None:
        assert self.clients[domid].mkdir(path) == self.model.mkdir(domid, path)

    @rule(domid=DOMAINS, path=PATHS)
    def rm(self, domid: int, path: str) -> None:
        assert self.clients[domid].rm(path) == self.model.rm(domid, path)

    @rule(domid=DOMAINS, path=PATHS, permissions=PERMISSIONS)
    def set_perms(self, domid: int, path: str, permissions: list[str]) -> None:
        expected = self.model.set_perms(domid, path, permissions)
        assert self.clients[domid].set_perms(path, *permissions) == expected

    @rule(domid=DOMAINS, path=PATHS)
    def read(self, domid: int, path: str) -> None:
        expected = self.model.error(domid, path, "r")
        answer = self.clients[domid].read(path)
        assert answer == (expected or self.model.values[path].encode())

    @rule(domid=DOMAINS, path=PATHS)
    def directory_of(self, domid: int, path: str) -> None:
        expected = self.model.error(domid, path, "r")
        answer = self.clients[domid].directory(path)
        if isinstance(answer, bytes):
            assert expected is None
            assert sorted(answer.decode().split("\0")[:-1]) == sorted(self.model.children(path))
        else:
            assert answer == expected

    @rule(domid=DOMAINS, path=PATHS)
    def get_perms(self, domid: int, path: str) -> None:
        expected = self.model.error(domid, path, "r")
        answer = self.clients[domid].get_perms(path)
        assert answer == (expected or "\0".join([*self.model.permissions[path], ""]).encode())

    @rule(domid=st.sampled_from([1, 2]))
    def release(self, domid: int) -> None:
        self.harness.store.release_domain(domid)
        self.model.release(domid)
        self.clients[domid] = self.harness.client(domid)

    @rule(compacted=st.booleans())
    def restart(self, compacted: bool) -> None:
        if compacted:
            journal = self.harness.database._journal
            assert journal is not None
            journal._compact(self.harness.database.state())
        self.harness.restart()
        self.connect()

    @invariant()
    def both_hold_the_same(self) -> None:
        tree = self.harness.database._tree
        assert {
            path: (node.value.decode(), render(node.permissions)) for path, node, _ in tree.walk()
        } == {
            path: (value, "\0".join([*self.model.permissions[path], ""]).encode())
            for path, value in self.model.values.items()
        }
        self.harness.database.check()


StoreAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestStoreAgainstModel = StoreAgainstModel.TestCase
