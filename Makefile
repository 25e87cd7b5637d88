# Each target sets up what it needs: a virtual environment in .venv with the versions of constraints.txt.
# CUDA or CPU torch: see README, "Which torch". PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-gpu torture fuzz check format bench wheel clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("yuantune needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps xgrammar apache-tvm-ffi  # 5 MB, without triton's 200
	touch $@

demo: $(READY)  ## Fine-tune the built-in model on the sample résumés and let it answer
	$(BIN)/yuantune demo

test: $(READY)  ## Run the tests
	$(BIN)/pytest

test-gpu: $(READY)  ## On a machine with a CUDA GPU: exactness there, and the bench
	$(BIN)/pytest -m gpu
	$(BIN)/yuantune bench train --device cuda

torture: $(READY)  ## Kill 100 trainings and 50 extractions, and compare what they end with; TORTURE="--train-kills 3" for less
	$(BIN)/python -W ignore -m tests.torture $(TORTURE)

fuzz: $(READY)  ## 20,000 examples for each property of readers, templates, scores and constraint
	YUANTUNE_HYPOTHESIS=fuzz $(BIN)/pytest tests/test_fuzz.py tests/test_infer_constraint.py

check: $(READY)  ## Format, lint, types, and who may import whom
	$(BIN)/ruff format --check src tests recipes
	$(BIN)/ruff check src tests recipes
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Format and fix what can be fixed by itself
	$(BIN)/ruff format src tests recipes
	$(BIN)/ruff check --fix src tests recipes

bench: $(READY)  ## Measure: ratios within one run
	$(BIN)/yuantune bench train

wheel: $(READY)  ## Build dist/*.whl
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
