# Two commands matter: `make demo` and `make test`. Both need only Python 3.11 or newer and make.

PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test check bench docs models clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/installed  ## The whole loop on Toyworld, offline, in a few minutes; writes pairsieve-demo/report.html
	$(BIN)/pairsieve demo

test: .venv/installed-dev check  ## Lint, type-check and run every test, with a real Redis and a real browser
	sh scripts/provide.sh
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

check: .venv/installed-dev  ## Lint and type-check only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed-dev  ## Measure; see docs/benchmarks.md
	$(BIN)/python -m benchmarks

docs: .venv/installed-dev  ## Regenerate the pages that are made from code
	$(BIN)/python scripts/generate_docs.py

models: .venv/installed-dev  ## Train Toyworld's models again (about an hour on two cores)
	$(BIN)/python -m training.toyworld.make_models

clean:  ## Remove the environment and the demo's output
	rm -rf .venv pairsieve-demo

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Pairsieve needs Python 3.11 or newer; say make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install --quiet --upgrade -c constraints.txt pip
	@echo "Installing (several minutes the first time: torch is large)"
	$(PIP) install --quiet --progress-bar on -c constraints.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) install --quiet -c constraints.txt --group dev
	@touch $@
