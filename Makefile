PYTHON ?= python3.11
BIN := .venv/bin
# Processes that share the tests. All tests that start Ray run in one of them.
PROCESSES ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadgroup --no-loadscope-reorder

.PHONY: help install demo test test-full check docs bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

install: .venv/.installed  ## make .venv with all dependencies (8 GB, some minutes)

demo: install  ## make a pool, run the main recipe on it, compare the result with the planted defects
	$(BIN)/winnow demo

test: install  ## run the tests
	$(PYTEST)

test-full: install  ## run the tests with every case of the slow proofs: more kills, faults, clusters and examples
	FULL_TESTS=1 $(PYTEST) --timeout 3600

check: install  ## check format, lint and types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

docs: install  ## make the pages that are generated: jobs/COMMANDS.md, the reference in operators/README.md
	$(BIN)/python -m jobs.commands.reference
	$(BIN)/python -m tests.support.operators_page

bench: install  ## run the benchmarks, side by side with the alternatives
	@for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove the demo's outputs and caches
	rm -rf demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
