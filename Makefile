PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help install demo test check docs bench clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

install: .venv/.installed  ## make .venv with everything in it (8 GB, some minutes)

demo: install  ## make a pool, run the main job on it, check it against what was planted
	$(BIN)/winnow demo

test: install  ## the test suite
	$(BIN)/python -m pytest

check: install  ## format, lint, types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

docs: install  ## make the pages that are generated: jobs/COMMANDS.md, the reference in operators/README.md
	$(BIN)/python -m jobs.commands.reference
	$(BIN)/python -m tests.support.operators_page

bench: install  ## the benchmarks, side by side with what a user would run otherwise
	@for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove the demo's outputs and caches
	rm -rf demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
