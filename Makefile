# Two commands for everyone: `make demo` runs the main job, `make test` the tests. Both set
# themselves up in .venv, and do nothing twice. `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs/demo
JOBS ?= 2

# Pins hold for builds as well. Torch is in the same pip command as what needs it.
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install
PROJECT := pyproject.toml constraints.txt

# Test workers share the cores: one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

.PHONY: help demo test test-slow test-shapes lint format types docs bench dist clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.installed ## compare a DEQ with feed-forward networks; writes an HTML report
	$(BIN)/deqlab run images sawtooth-k3 memory --preset quick --jobs $(JOBS) --out $(RUNS)
	$(BIN)/deqlab report $(RUNS)

test: $(VENV)/.installed-test ## fast tests, doctests, code blocks of README and docs
	$(PYTEST)

test-slow: $(VENV)/.installed-test $(VENV)/.installed-lint $(VENV)/.installed-dask $(VENV)/.installed-ray $(VENV)/.installed-integrations ## the slow tests, which `make test` leaves out
	$(PYTEST) -m slow

test-shapes: $(VENV)/.installed-test ## the fast tests, with every annotated shape and type checked at run time
	$(PYTEST) --jaxtyping-packages=deqlab,beartype.beartype

lint: $(VENV)/.installed-lint ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-lint ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-lint ## static types
	$(BIN)/mypy

docs: $(VENV)/.installed-docs ## build the documentation into site/
	$(BIN)/sphinx-build -W --keep-going --quiet -d .sphinx docs site

dist: $(VENV)/.installed-release ## wheel and sdist in dist/, as a package index takes them
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

bench: $(VENV)/.installed ## time and memory of solvers and gradients, into benchmarks/results/
	$(BIN)/python -m benchmarks.forward
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.curves

clean: ## remove what these targets made, but for runs/
	rm -rf $(VENV) site .sphinx docs/reference/api docs/notebooks dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: $(PROJECT)
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch -e .
	touch $@

$(VENV)/.installed-%: $(VENV)/.installed $(PROJECT)
	$(PIP) torch -e '.[$*]'
	touch $@
