# Voxray: everything a developer types. `make` alone lists it.
#
#   PYTHON=/path/to/python3.11   the interpreter for .venv (default: the first suitable one)
#   SYSTEM_LIBS=skip             leave Debian's libraries alone
#   JOBS=2  SEED=0  TESTS="..."  for `make test`: workers, order (0: a new one each time), what to run

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv dev demo run test coverage fuzz lint format docs changelog wheel deb deb-test clean

JOBS ?= 2
SEED ?= 0
TESTS ?=
RUN ?=
SECS ?= 60
PARSERS ?=
export PYTHON SYSTEM_LIBS

BIN := .venv/bin
CODE := $(wildcard voxray tests scripts bench twisted)
TRIAL := $(BIN)/python -m twisted.trial --random $(SEED)

# Tests that measure in real time, calls and Redis's half a second. Two at once on two cores would make each other late.
LIVE := tests/test_e2e_rolling.py $(shell grep -lE 'tests\.(e2e_office|redis_server)|attackers import .*Sentinel' tests/test_*.py)
QUICK := $(filter-out $(LIVE),$(wildcard tests/test_*.py))

help: ## this list
	@echo "Voxray: a telephony daemon that answers phone calls with an agent."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "To run the daemon yourself: make venv, then .venv/bin/twistd -n voxray --config etc/voxray.json"

venv: ## make .venv: twistd with the voxray plugin, and the offline voice and ears
	@scripts/venv.sh run

dev: ## make .venv with the tools for tests and lint too
	@scripts/venv.sh dev

demo: venv ## start the daemon, call it, show the call (no account, no key)
	@$(BIN)/python -m voxray.simulator.demo

test: dev ## the whole test suite, in random order: first all that needs no real time, JOBS at once, then the rest
ifdef TESTS
	@$(TRIAL) --jobs $(JOBS) $(TESTS)
else
	@status=0; \
	echo "=== tests without real time, $(JOBS) at once"; $(TRIAL) --jobs $(JOBS) $(QUICK) || status=$$?; \
	echo "=== tests in real time, one after the other"; $(TRIAL) $(LIVE) || status=$$?; \
	exit $$status
endif

coverage: dev ## the test suite once more, with line and branch coverage
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m twisted.trial --random $(SEED) $(or $(TESTS),tests)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

fuzz: dev ## noise at everything that reads strangers' bytes, SECS=60 each (PARSERS="twilio ..."; needs the network)
	@place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; \
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target "$$place" 'atheris==3.0.0'; \
	PYTHONPATH="$$PWD:$$place" $(BIN)/python -m bench.fuzz --secs $(SECS) $(PARSERS)

lint: dev ## format, style, types, import contracts, sizes, the reactor's rules
	@failed=; \
	check() { echo "-- $$*"; "$(BIN)/$$@" || failed="$$failed $$*;"; }; \
	check ruff format --check --output-format concise $(CODE); \
	check ruff check $(CODE); \
	check mypy; \
	check mypy scripts; \
	check lint-imports --config setup.cfg --no-cache --no-logo; \
	check python scripts/check_reactor.py voxray; \
	check python scripts/check_sizes.py voxray; \
	check python scripts/diagrams.py --check; \
	check python scripts/command.py --check; \
	check python scripts/dashboard.py --check; \
	check python scripts/dangers.py --check; \
	if [ -n "$$failed" ]; then echo; echo "lint failed:$$failed"; exit 1; fi; echo "lint: all is well"

format: dev ## let ruff rewrite the sources
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

docs: dev ## regenerate docs/configuration.md, the state diagrams, completion, manual and dashboard
	@$(BIN)/python -m voxray.config.document >docs/.configuration.md
	@mv docs/.configuration.md docs/configuration.md
	@$(BIN)/python scripts/diagrams.py
	@$(BIN)/python scripts/command.py
	@$(BIN)/python scripts/dashboard.py

changelog: dev ## show the changelog that newsfragments/ make
	@$(BIN)/towncrier build --draft --version unreleased

wheel: venv ## build dist/voxray-*.whl
	@rm -rf build dist
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .
	@ls dist/*.whl

deb: ## build dist/voxray_*.deb for this Debian (12 or 13; root installs what the build needs)
	@scripts/deb.sh

deb-test: ## as root: install, upgrade, boot under systemd, call and purge dist/voxray_*.deb in a container
	@scripts/deb-test.sh

clean: ## remove what make made, .venv too
	rm -rf .venv build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
