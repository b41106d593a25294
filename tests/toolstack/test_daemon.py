"""xl's view of the toolstack: real daemon, zygote and domain processes, and a fake machine."""

from __future__ import annotations

from conftest import Host, read_until


def test_a_domain_is_created_listed_and_destroyed(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", "hello", memory=64, maxmem=128, vcpus=2))
        assert domid == 1
        dom0, web = toolstack.list()
        assert (dom0.domid, dom0.name) == (0, "Domain-0")
        assert (web.name, web.memory_kib, web.max_memory_kib) == ("web", 65536, 131072)
        console = toolstack.console(domid)
        assert b"web booted: hello\n" in read_until(console, b"booted: hello\n")
        toolstack.destroy(domid)
        assert [domain.name for domain in toolstack.list()] == ["Domain-0"]
        console.close()
