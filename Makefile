# Everything runs from a virtual environment in .venv, made here from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast test-slow check bench clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

check: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: $(BIN)/.installed
	$(BIN)/pytest -m 'not guest and not slow'

test: check
	$(BIN)/pytest -m 'not slow'

test-slow: $(BIN)/.installed
	$(BIN)/pytest -m slow

clean:
	rm -rf $(VENV) build
