PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint check format benchmark zoo architectures docs notebooks experiments release-check clean

demo: $(INSTALLED)  # the main job, on real data
	$(BIN)/mutransfer demo

test: $(INSTALLED)  # all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(INSTALLED)  # formatter, linter, type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  # what CI runs

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(INSTALLED)  # sweep throughput against loops; what a plan costs; limits beside networks
	$(BIN)/python -m benchmarks.sweep_throughput.run
	$(BIN)/python benchmarks/plan_overhead/run.py
	$(BIN)/python benchmarks/plan_large/run.py
	$(BIN)/python benchmarks/limits/run.py

zoo: $(INSTALLED)  # other people's packages of models, for the architectures alone
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-zoo.txt

architectures: zoo  # plan every architecture of the zoo; write the page about it
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.architectures.run

notebooks: $(INSTALLED)  # run the notebooks, and keep their outputs in them
	OMP_NUM_THREADS=1 $(BIN)/python scripts/run_notebook.py examples/*.ipynb

experiments: $(INSTALLED)  # the papers' experiments at small scale, and the page about them
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python scripts/experiments.py $(if $(DATA),--data $(DATA))

release-check: $(INSTALLED)  # the wheel in new environments, lowest to newest; each extra alone
	$(BIN)/python scripts/release_check.py

docs: .venv-docs/.installed  # the documentation site, into site/: offline, every link checked
	.venv-docs/bin/python scripts/build_docs.py

.venv-docs/.installed: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --no-deps --requirement $<
	@touch $@

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("mutransfer needs Python 3.11 or newer; give one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) .venv-docs build site .cache mutransfer-demo
