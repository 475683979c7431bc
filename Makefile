PYTHON ?= python3.11
BIN := .venv/bin
SECONDS ?= 60
OUT ?= gpu
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
PROCESSES ?= 3
PYTEST = $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadscope --no-loadscope-reorder

# Hundreds of processes import Winnow: none of them compiles it anew, whatever the machine's environment says
export PYTHONDONTWRITEBYTECODE =

.PHONY: help install demo test test-full check docs bench gpu fuzz clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

install: .venv/.installed  ## make .venv with all dependencies (8 GB, some minutes)

demo: install  ## make a pool, run the main recipe on it, compare the result with the planted defects
	$(BIN)/winnow demo

test: install  ## run the tests, in PROCESSES processes (3), with the same random examples each time
	@$(PYTEST)

test-full: install  ## run the tests with every case of the slow proofs: more kills, faults, clusters and examples
	@FULL_TESTS=1 $(PYTEST) --timeout 3600

check: install  ## check format, lint and types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

docs: install  ## make the pages that are generated: jobs/COMMANDS.md, the reference in operators/README.md
	$(BIN)/python -m jobs.commands.reference
	$(BIN)/python -m tests.support.operators_page

bench: install  ## run the benchmarks (or ONLY="tar tiny") at a reduced size, into tests/benchmarks/RESULTS.md
	$(BIN)/python -m tests.benchmarks $(ONLY)

gpu:  ## measure what a GPU gives, into OUT (gpu/), without Ray or a network; on a CPU, a self-test
	@mkdir -p $(OUT) && $(GPU_PYTHON) -m tests.benchmarks.gpu --out $(OUT)

fuzz: install  ## fuzz the parsers, SECONDS each (60); what is found lies in fuzz/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

clean:  ## remove the demo's outputs and caches
	rm -rf demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
