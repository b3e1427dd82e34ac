# `make demo` and `make test` need nothing but Python 3.11 or newer: each makes .venv, installs what
# it needs into it (once, until pyproject.toml or constraints.txt change), and runs.
#
# A torch without CUDA, which is ten times smaller:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"

VENV ?= .venv
BIN := $(VENV)/bin
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,\
	$(shell $(p) -c '$(SUITABLE)' >/dev/null 2>&1 && echo $(p))))
TORCH ?= torch==2.13.0
# Exact versions; `CONSTRAINTS=` installs the newest ones that the ranges allow.
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_INSTALL := $(PIP) $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
CELL2LOCATION := cell2location==0.1.5
INPUTS := pyproject.toml Makefile $(CONSTRAINTS)

DEMO_FOLDER ?= demo-output
TEST_WORKERS ?= auto
TEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_FIRST ?= 1000
FUZZ_MODELS ?= 3000

.DEFAULT_GOAL := help
.PHONY: help demo test wheel lint format format-check types docs check bench fuzz clean

help:
	@echo "make demo          fit a model to real counts, draw its posterior, write a report"
	@echo "make test          run all tests"
	@echo "make check         tests, linter, formatter check, type checker, documentation, wheel"
	@echo "make lint format format-check types docs wheel bench fuzz clean"

# Torch comes first and by itself, so that TORCH may name a file, a version or another index.
# pip 25.1 is the first that reads dependency groups.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer (with venv) was not found; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	$(PIP_INSTALL) $(TORCH)

$(VENV)/.demo: $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) -e ".[demo]"
	@touch $@

$(VENV)/.test: $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) -e ".[all]" --group test
	$(PIP_INSTALL) --no-deps $(CELL2LOCATION)
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(VENV)/.test
	$(PIP_INSTALL) --group dev
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

# The wheel, in an environment that has nothing but the core's own packages.
wheel: | $(BIN)/python
	rm -rf dist build/core
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .
	$(PYTHON) -m venv build/core
	build/core/bin/python -m pip install --quiet --disable-pip-version-check \
		$(if $(CONSTRAINTS),-c $(CONSTRAINTS)) $(TORCH)
	build/core/bin/python -m pip install --quiet --disable-pip-version-check \
		$(if $(CONSTRAINTS),-c $(CONSTRAINTS)) dist/*.whl
	cd build/core && bin/python -I ../../.ci/core_alone.py

check: test lint format-check types docs wheel

bench: $(VENV)/.test
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/side_by_side.py $(BENCH_ARGS)

fuzz: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/fuzz $(FUZZ_FIRST) $(FUZZ_MODELS)

clean:
	rm -rf $(VENV) demo-output docs/_build build dist .pytest_cache .mypy_cache .ruff_cache
