# One target for each thing that one does. Everything runs in .venv, made on first use.
PYTHON ?= python3
# Extra words for pip, such as an index that serves torch's CPU build (see README, "Installing").
PIP_ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
# Small matrices on shared cores: a second thread spins at barriers and wins nothing. Parallel runs use processes.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup demo test lint format types unit same study benchmark clean

setup: $(READY) .links/feedgym

# torch first and by its exact version: a plain `torch` would fetch gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"FeedGym needs Python 3.11 or newer, this is {sys.version}; try: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $(READY)

# mypy has to find the folders under their import name, feedgym.
.links/feedgym:
	mkdir -p .links
	ln -sfn .. .links/feedgym

demo: setup
	$(BIN)/feedgym compare --out runs/demo

test: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: setup
	$(BIN)/mypy

unit: setup
	$(BIN)/python -m pytest -n 2

# Whether this tree gives the same bytes as another commit: make same AGAINST=main
AGAINST ?= HEAD
same: setup
	$(BIN)/python tests/same_bytes.py --against $(AGAINST)

study: setup
	$(BIN)/feedgym study all --out runs/studies

benchmark: setup
	$(BIN)/feedgym benchmark

clean:
	rm -rf .venv .links build *.egg-info .pytest_cache .mypy_cache .ruff_cache
