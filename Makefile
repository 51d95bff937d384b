# Every target builds .venv first when it is missing or older than pyproject.toml.
# A fresh clone needs only make and Python 3.11 or later with its venv module.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $(STAMP)

demo: $(STAMP)  ## serve https://localhost:8443 with a certificate made on the spot
	$(BIN)/python examples/https_server.py

test: $(STAMP)  ## run the tests under coverage, then check the coverage floors
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet
	$(BIN)/python tests/coverage_floors.py

lint: $(STAMP)  ## ruff check, ruff format --check, mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(STAMP)  ## measure handshakes and memory
	$(BIN)/python benchmarks/handshake.py
	$(BIN)/python benchmarks/memory.py

clean:  ## remove .venv, caches and coverage data
	rm -rf $(VENV) .coverage .coverage.* coverage.json htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist
	find aiotls tests examples benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
