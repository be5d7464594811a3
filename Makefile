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
# What is printed at the end: the commands live in .venv, and a shell finds them there only once it is activated.
ACTIVATE := @echo 'To have `feedgym` and `python` of this environment in your shell: . .venv/bin/activate'
HOUSE := $(READY) .links/feedgym

setup: $(HOUSE)
	$(ACTIVATE)

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

demo: $(HOUSE)
	$(BIN)/feedgym compare --readers 1000 --days 7 --out runs/demo
	$(ACTIVATE)

test: lint types unit

lint: $(HOUSE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(HOUSE)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(HOUSE)
	$(BIN)/mypy

unit: $(HOUSE)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Whether this tree gives the same bytes as another commit: make same AGAINST=main
AGAINST ?= HEAD
same: $(HOUSE)
	$(BIN)/python tests/same_bytes.py --against $(AGAINST)

study: $(HOUSE)
	$(BIN)/feedgym study all --out runs/studies

benchmark: $(HOUSE)
	$(BIN)/feedgym benchmark

clean:
	rm -rf .venv .links build *.egg-info .pytest_cache .mypy_cache .ruff_cache
