# `make demo` and `make test` need nothing but Python 3.11 or newer: each makes .venv, installs what
# it needs into it (once, until pyproject.toml or constraints.txt change), and runs.

VENV ?= .venv
BIN := $(VENV)/bin
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,\
	$(shell $(p) -c '$(SUITABLE)' >/dev/null 2>&1 && echo $(p))))
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CELL2LOCATION := cell2location==0.1.5
INPUTS := pyproject.toml constraints.txt Makefile

DEMO_FOLDER ?= demo-output
TEST_WORKERS ?= auto
TEST_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint format format-check types docs check bench clean

help:
	@echo "make demo          fit a model to real counts, draw its posterior, write a picture"
	@echo "make test          run all tests"
	@echo "make check         tests, linter, formatter check, type checker, documentation"
	@echo "make lint format format-check types docs bench clean"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer (with venv) was not found; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) torch==2.13.0 -e ".[demo]"
	@touch $@

$(VENV)/.test: $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) torch==2.13.0 -e ".[test]"
	$(PIP_INSTALL) --no-deps $(CELL2LOCATION)
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(VENV)/.test
	$(PIP_INSTALL) torch==2.13.0 -e ".[dev]"
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m pyro_posterior.demo $(DEMO_FOLDER)

test: $(VENV)/.test
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(TEST_WORKERS) $(TEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

format-check: $(VENV)/.dev
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

check: test lint format-check types docs

bench: $(VENV)/.test
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/side_by_side.py $(BENCH_ARGS)

clean:
	rm -rf $(VENV) demo-output docs/_build build dist .pytest_cache .mypy_cache .ruff_cache
