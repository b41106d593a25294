"""`xl info -n`: the host's topology from a sysfs that is laid out for the test."""

from __future__ import annotations

from pathlib import Path

from xenolith.cli import topology


def test_tables(tmp_path: Path) -> None:
    for cpu, (core, node) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        where = tmp_path / "cpu" / f"cpu{cpu}"
        (where / "topology").mkdir(parents=True)
        (where / "topology" / "core_id").write_text(f"{core}\n")
        (where / "topology" / "physical_package_id").write_text(f"{node}\n")
        (where / f"node{node}").mkdir()
    for node in (0, 1):
        where = tmp_path / "node" / f"node{node}"
        where.mkdir(parents=True)
        where.joinpath("distance").write_text("10 21\n" if node == 0 else "21 10\n")
        where.joinpath("meminfo").write_text(
            f"Node {node} MemTotal:        4194304 kB\nNode {node} MemFree:         1048576 kB\n"
            f"Node {node} Active(anon):     100000 kB\nNode {node} Inactive(file):    409600 kB\n"
            f"Node {node} Active(file):     204800 kB\nNode {node} SReclaimable:      102400 kB\n"
        )
    assert topology.lines(str(tmp_path)) == [
        "cpu_topology           :",
        "cpu:    core    socket     node",
        "  0:       0        0        0",
        "  1:       1        0        0",
        "  2:       0        1        1",
        "  3:       1        1        1",
        "device topology        :",
        "device           node",
        "No device topology data available",
        "numa_info              :",
        "node:    memsize    memfree    distances",
        "   0:      4096       1724      10,21",
        "   1:      4096       1724      21,10",
    ]


def test_a_host_that_says_nothing(tmp_path: Path) -> None:
    assert len(topology.lines(str(tmp_path))) == 7
