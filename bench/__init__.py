"""The benchmarks: `make bench` measures what docs/benchmarks.md promises, beside a peer in the same run.

Each section measures a few figures; the peer is the distribution's QEMU with its own translator.
"""
