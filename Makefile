# Everything runs from a virtual environment in .venv, made here from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run assets grub debian debian-image test test-packages test-fast test-slow test-nested test-xtf check bench clean

$(BIN)/.installed: pyproject.toml setup.py $(shell find src -name '*.[ch]')
	@missing=; $(PYTHON) -c 'import ensurepip' 2>/dev/null || missing=python3-venv; \
	echo '#include <stdio.h>' | $(CC) -E - >/dev/null 2>&1 || missing="$$missing gcc libc6-dev"; \
	scripts/need-packages $$missing
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m compileall -q src
	touch $@

# Debian's own kernel and busybox, fetched with the machine's apt into the user's cache directory.
assets: $(BIN)/.installed
	$(BIN)/python -m xenolith.cli.assets cloud --link-into examples/guest

# GRUB 2's images for guests, into the same cache, for firmware="pvgrub64".
grub: $(BIN)/.installed
	$(BIN)/python -m xenolith.cli.grub

run: assets
	$(BIN)/python -m xenolith.cli.demo examples/debian.cfg

debian: debian-image
	$(BIN)/python -m xenolith.cli.demo --until ' login: ' examples/debian-full.cfg

# A whole Debian in a VHD: made by mmdebstrap once, kept in the user's cache directory.
debian-image: $(BIN)/.installed
	scripts/need-packages e2fsprogs mmdebstrap passt uidmap
	$(BIN)/python -m xenolith.cli.debian --link-into examples/guest/debian

check: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: $(BIN)/.installed
	$(BIN)/pytest -m 'not guest and not slow and not nested and not xtf'

# Tests that compare with Debian's own headers and tools skip where these cannot be installed.
test-packages:
	scripts/need-packages acpica-tools btrfs-progs dosfstools e2fsprogs fdisk file iproute2 libc6-dev libnbd-bin libxen-dev mtools passt qemu-utils tcpdump xenstore-utils xfsprogs xorriso || true

test: check assets test-packages
	$(BIN)/pytest -m 'not slow and not nested and not xtf'

test-slow: assets test-packages
	$(BIN)/pytest -m slow

# KVM in a machine with AMD-V, which QEMU emulates: needs no /dev/kvm here, and some minutes.
test-nested: assets
	scripts/need-packages qemu-system-x86
	$(BIN)/pytest -s -m nested tests/nested

# The Xen Test Framework: what Xen's developers test Xen with, fetched by git and built.
test-xtf: $(BIN)/.installed
	$(BIN)/pytest -m xtf tests/xtf

bench: assets
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build
