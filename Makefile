# Everything runs from a virtual environment in .venv, made here from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run assets debian debian-image test test-packages test-fast test-slow check bench clean

$(BIN)/.installed: pyproject.toml setup.py $(shell find src -name '*.[ch]')
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/need-packages python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m compileall -q src
	touch $@

# Debian's own kernel and busybox, fetched with the machine's apt into the user's cache directory.
assets: $(BIN)/.installed
	$(BIN)/python -m xenolith.cli.assets cloud --link-into examples/guest

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
	$(BIN)/pytest -m 'not guest and not slow'

# Tests that compare with Debian's own headers and tools skip where these cannot be installed.
test-packages:
	scripts/need-packages acpica-tools libc6-dev libnbd-bin iproute2 libxen-dev passt qemu-utils tcpdump xenstore-utils xorriso || true

test: check assets test-packages
	$(BIN)/pytest -m 'not slow'

test-slow: assets test-packages
	$(BIN)/pytest -m slow

bench: assets
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build
