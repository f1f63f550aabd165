# `make demo` and `make test` are all there is to know; each sets up by itself.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup code code-live code-stages demo test compile compile-core compile-others soak bench conformance lint clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := report,jsonc,service,tune,test
# The interpreter for .venv; the first of these that is 3.11 or newer, unless PYTHON=… names one.
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where this is set, each of hundreds of processes would compile every module anew: our own and the tests' take 10 s.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make demo    set up, then run the whole pipeline on a synthetic market; prints where the report is"
	@echo "make test    set up, then run the tests (real data: PIPELINE_REAL_DATA=DIR make test)"
	@echo "make soak    a million crashes of the order desk, 200 kills of serve, each fault five times (some hours)"
	@echo "make lint    style, types and the layering of imports"
	@echo "make bench   every speed figure, next to its peer and its goal"
	@echo "make conformance   drive the local exchange with other people's clients (installs them; see docs/exchange.md)"
	@echo "make setup   create .venv and install; quick when nothing changed"
	@echo "make clean   remove .venv and caches; data, models and the DVC cache stay"

setup: code
	@echo "$(VENV) is ready: source $(BIN)/activate, then pipeline --help"

$(READY): pyproject.toml constraints.txt
	@.ci/install $(VENV) "$(EXTRAS)" $(PYTHONS)
	@touch $@

# The machine code that `serve`, `labels` and `simulate` load; nothing to do the second time.
code: code-live code-stages
code-live: $(READY)
	@python -c 'from pipeline.live.compiled_functions import make; print(make())' | sed '/ is there$$/d'
code-stages: $(READY)
	@python -c 'from pipeline.stages.compiled_functions import make; print(make())' | sed '/ is there$$/d'
	@python -c 'from pipeline.stages.simulate_functions import make; print(make())' | sed '/ is there$$/d'
# For tests all of the core besides, once instead of in each of their processes; `make -j3 compile` uses all processors.
# The library of `simulate` comes after the core, which has compiled most of it.
compile: code-live compile-core compile-others
compile-core: $(READY)
	@PYTHONPATH=tests python tests/compile.py core
	@$(MAKE) --no-print-directory code-stages
compile-others: $(READY)
	@PYTHONPATH=tests python tests/compile.py others

# What DVC advises after each run (git add, a remote) has no place in a demonstration; errors go past this.
ADVICE := /^To track the changes with git, run:$$/,/^Use `dvc push`/d; /^Use `dvc push`/d
demo: code
	@git rev-parse --git-dir > /dev/null 2>&1 || dvc config --quiet --local core.no_scm true
	@pipeline dvc -c configs/demo.yaml
	@dvc repro train simulate | sed '$(ADVICE)'
	@echo "serving two weeks of it bar by bar, in shadow, on a local exchange …"
	@pipeline serve -c configs/demo.yaml --rehearse 2023-12-10 2023-12-24
	@dvc repro | sed '$(ADVICE)'
	@pipeline show -c configs/demo.yaml

test: compile
	@pytest -n 4 --dist worksteal -rs

soak: $(READY)
	@python tests/live/soak.py --crash-points 1000000 --years 10
	@python tests/live/simulation.py --seeds 1000 --crashes 12 --menu 20 --jobs $$(nproc)
	@PIPELINE_KILLS=200 pytest -q -p no:cacheprovider --durations=1 tests/live/test_processes.py
	@mkdir -p data
	@PIPELINE_FAULT_ROUNDS=5 PIPELINE_RELIABILITY=$(CURDIR)/data/soak-faults pytest -q -s tests/live/test_faults.py
	@python tests/live/reliability.py --print data/soak-faults/*.json

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy
	lint-imports

bench: EXTRAS := $(EXTRAS),bench
bench: $(READY)
	@python -c 'import vectorbt' 2> /dev/null || .ci/install $(VENV) "$(EXTRAS)" $(PYTHONS)
	@benchmarks/run

conformance: $(READY)
	@python tests/conformance/run.py

clean:
	rm -rf $(VENV) .conformance .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
