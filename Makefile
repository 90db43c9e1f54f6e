# Everything that is done to this project from the command line. `make` alone tells what there is.
#
# PYTHON         the interpreter to build on; a torch that it already has is used, and none is installed
# TORCH_VERSION  the torch to install where there is none
# WORKERS        processes that run the tests
#
# test-long kills jobs at moments that are drawn from the environment's ZIMAGE_SYNCD_KILL_SEED (any text; without it always
# the same ones). A test that fails says its seed.
#
# pip takes its index from the environment as always (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, pip.conf).

PYTHON ?= python3
TORCH_VERSION ?= 2.13.0
WORKERS ?= 2
VENV ?= .venv

PY := "$(VENV)/bin/python"
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check
# A torch of the chosen interpreter is neither replaced nor installed a second time.
CONSTRAINT := $(VENV)/torch-constraint.txt
CODE := zimage_syncd tests .ci $(wildcard benchmarks)
FAST := not long and not machine and not gpu

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

.PHONY: help
help:  ## what there is
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.dev  ## the virtual environment, with all that lint and types need (no torch)

.PHONY: setup-probe
setup-probe: $(VENV)/.probe  ## what the health check needs: torch, diffusers, transformers, modelscope

.PHONY: demo
demo: $(VENV)/.probe  ## the whole story on a tiny model, in a temporary directory
	@$(PY) -m zimage_syncd demo

.PHONY: test
test: lint types imports pytest  ## lint, types, import contracts and tests

.PHONY: lint
lint: $(VENV)/.dev  ## ruff
	@echo "==> lint"
	@$(PY) -m ruff check $(CODE)
	@$(PY) -m ruff format --check $(CODE)

.PHONY: types
types: $(VENV)/.dev  ## mypy --strict
	@echo "==> types"
	@$(PY) -m mypy

.PHONY: imports
imports: $(VENV)/.dev  ## which way imports may point
	@echo "==> imports"
	@"$(VENV)/bin/lint-imports" --no-logo

.PHONY: pytest
pytest: $(VENV)/.dev $(VENV)/.probe  ## the tests that take seconds
	@echo "==> tests"
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadgroup -m "$(FAST)"

.PHONY: test-long
test-long: $(VENV)/.dev $(VENV)/.probe  ## the tests that take minutes; ZIMAGE_SYNCD_KILL_SEED=… kills at other moments
	@echo "==> long tests"
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadgroup -m "long and not machine and not gpu"

.PHONY: test-gpu
test-gpu: $(VENV)/.dev $(VENV)/.probe  ## the tests on a GPU that nobody else uses (CUDA)
	@echo "==> tests on a GPU"
	@$(PY) -m pytest -q -n 0 -m gpu tests/gpu $(TESTS)

.PHONY: test-machine
test-machine: $(VENV)/.dev  ## the tests on virtual machines (root, QEMU; tests/machine/README.md); TESTS="-k reset" narrows them
	@echo "==> tests on virtual machines"
	@$(PY) -m pytest -q -n 0 -m machine tests/machine $(TESTS)

.PHONY: bench
bench: $(VENV)/.dev  ## backup, restore and verification beside other tools, on a real S3 server; BENCH="--runs 1 --only restore" narrows it
	@$(PY) -m benchmarks.transfer $(BENCH)
	@$(PY) -m benchmarks.verification $(BENCH)
	@$(if $(BENCH),true,$(PY) -m benchmarks.memory)

.PHONY: format
format: $(VENV)/.dev  ## ruff's formatter
	@$(PY) -m ruff check --fix-only $(CODE)
	@$(PY) -m ruff format $(CODE)

.PHONY: dist
dist: $(VENV)/.dev  ## wheel and source distribution in dist/
	@echo "==> dist"
	@rm -rf dist
	@$(PY) -m build --outdir dist

.PHONY: clean
clean:  ## removes what was built; the virtual environment stays
	@rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find zimage_syncd tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean  ## removes the virtual environment, too
	@rm -rf "$(VENV)"

# Stamps: a step whose inputs did not change is not repeated.

# An interpreter that was named is compared with the one that the environment was made on, each time.
CHOSEN := $(if $(filter file default undefined,$(origin PYTHON)),,yes)

$(VENV)/.made: .ci/make_venv.py $(if $(CHOSEN),chosen-python)
	@[ -e "$@" ] || echo "==> virtual environment $(VENV) on $(PYTHON)"
	@"$(PYTHON)" .ci/make_venv.py "$(VENV)" $(CHOSEN)
	@[ -e "$@" ] || touch "$@"

.PHONY: chosen-python
chosen-python:

$(VENV)/.dev: pyproject.toml $(VENV)/.made
	@echo "==> installing zimage-syncd and the tools of its tests"
	@$(PIP_INSTALL) --constraint "$(CONSTRAINT)" --editable '.[dev]'
	@touch "$@"

$(VENV)/.torch: $(VENV)/.made
	@if [ -s "$(CONSTRAINT)" ]; then \
	  echo "==> using the torch of $(PYTHON): $$(cat "$(CONSTRAINT)")"; \
	else \
	  echo "==> installing torch $(TORCH_VERSION) (an index with CUDA builds sends gigabytes; PIP_INDEX_URL or PYTHON=… chooses another)"; \
	  $(PIP_INSTALL) "torch==$(TORCH_VERSION)"; \
	fi
	@touch "$@"

$(VENV)/.probe: pyproject.toml $(VENV)/.torch
	@echo "==> installing diffusers, transformers, accelerate, modelscope"
	@$(PIP_INSTALL) --constraint "$(CONSTRAINT)" --editable '.[probe]'
	@touch "$@"
