# taskroll: what there is to run. `make` alone prints this list.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Cornserve's packages and taskroll's do not go into one environment: their protobuf and grpc stubs disagree.
INTEROP_VENV := interop/.venv
INTEROP_READY := $(INTEROP_VENV)/.ready

# Tests run in this many processes, each with a stack of its own: much of the time goes in waiting for servers and
# deadlines. Those on stock Cornserve run in one: some keep up a load.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest
IN_PROCESSES := -n $(TEST_PROCESSES) --dist loadfile

.PHONY: help setup demo test test-slow interop interop-setup lint format bench dev lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(READY) ## the virtual environment, from the lock file

$(READY): requirements.lock pyproject.toml agent/pyproject.toml
	@echo "setup: a virtual environment in $(VENV), locked dependencies (about half a minute)" >&2
	$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e agent -e .
	touch $(READY)

demo: $(READY) ## update tasks in running services, take a bad update back, roll a good one back
	@$(BIN)/python -m examples.demo

test: lint ## lint, then the suite on real Temporal and a real kube-apiserver, but for the slow proofs
	@$(PYTEST) -m "not slow" $(IN_PROCESSES)

interop: $(INTEROP_READY) ## stock Cornserve 0.1.0 as processes: what it does alone, and with the agent
	@$(BIN)/pyright --warnings --project interop/launcher
	@echo "interop: tests of the real gateway, resource manager and task dispatchers; their logs: build/interop" >&2
	@$(PYTEST) -m "not slow" interop/tests

interop-setup: $(INTEROP_READY) ## Cornserve's own virtual environment, from its lock file

$(INTEROP_READY): interop/requirements.lock agent/pyproject.toml $(READY)
	@echo "interop: a virtual environment in $(INTEROP_VENV) with Cornserve 0.1.0, locked (about a minute)" >&2
	test -x $(INTEROP_VENV)/bin/python || $(PYTHON) -m venv --without-pip $(INTEROP_VENV)
	$(BIN)/uv pip install --quiet --python $(INTEROP_VENV)/bin/python --no-deps --require-hashes -r interop/requirements.lock
	@echo "interop: the agent of this checkout" >&2
	$(BIN)/uv pip install --quiet --python $(INTEROP_VENV)/bin/python --no-deps --no-build-isolation -e agent
	touch $(INTEROP_READY)

test-slow: $(INTEROP_READY) ## the slow proofs: deaths and terminations at every step, rollouts, swaps by the hundred, Temporal restored from a back-up
	@$(PYTEST) -m slow $(IN_PROCESSES)
	@$(PYTEST) -m slow interop/tests
	@TASKROLL_TERMINATIONS=50 $(PYTEST) tests/saga/test_random_terminations.py --timeout 700

lint: $(READY) ## ruff, pyright (strict), import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff . 2>/dev/null | head -40; echo "run: make format" >&2; exit 1; }
	@$(BIN)/pyright --warnings
	@$(BIN)/lint-imports

format: $(READY) ## ruff's own fixes and layout
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(READY) ## the saga beside the same calls made bare; the window beside a one-by-one restart
	@$(BIN)/python -m benchmarks

dev: $(READY) ## Temporal, etcd and kube-apiserver on this machine, until `taskroll dev down`
	@$(BIN)/taskroll dev up

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-annotate --no-header

lock: $(READY) ## make both lock files anew: versions and hashes, no addresses
	@$(LOCK) --no-emit-package taskroll-agent --extra dev pyproject.toml -o requirements.lock
	@$(LOCK) --override interop/overrides.txt interop/requirements.in -o interop/requirements.lock

clean: ## remove what was built here (not the cache of binaries)
	@rm -rf $(VENV) $(INTEROP_VENV) build dist .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
