# make up: from a fresh machine to a running fnbox, and an example invoked by the AWS CLI.
# make test: the same set-up, then every test.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv up down images gvisor test test-all test-unit lint bench lock clean

help:
	@echo "make up | down | test | test-all | test-unit | lint | bench | images | gvisor | lock | clean"

venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fnbox needs Python 3.11 or newer: install it, or say make PYTHON=python3.13")'
	@$(PYTHON) -m sandbox.setup.venv

up: venv
	@$(BIN)/fnbox up --example

down: venv
	@$(BIN)/fnbox down

images: venv
	@$(BIN)/fnbox images build

# Functions may be run under gVisor then; its tests are skipped where it is not.
gvisor: venv
	@$(BIN)/python -m sandbox.setup.gvisor

test: images
	@$(BIN)/fnbox images build --verbose init-test
	$(BIN)/pytest

test-all: images
	@$(BIN)/fnbox images build --verbose init-test
	$(BIN)/pytest -m '' --hypothesis-profile=thorough

test-unit: venv
	$(BIN)/pytest tests/unit

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/fnbox images build --verbose init-lint

bench: images
	$(BIN)/python -m tests.bench

# Pins, anew, what pyproject.toml and images/python/requirements.in ask for.
COMPILE := build/lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe
lock: venv
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet pip-tools
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra dev --build-deps-for editable --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --output-file images/python/requirements.txt images/python/requirements.in

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
