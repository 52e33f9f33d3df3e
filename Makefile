# Two commands do everything: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := torch==2.13.0

# uv reads none of pip's settings: hand over the folders where pip is told to look for wheels, if there are any
FIND_LINKS = found="$${PIP_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)}"; \
	if test -n "$$found"; then export UV_FIND_LINKS="$$(echo $$found | tr ' ' ',')"; fi

# torch before the rest, so that nothing pulls a build for accelerators that are not there
INSTALL_TORCH = $(FIND_LINKS); VIRTUAL_ENV=$(VENV); export VIRTUAL_ENV; \
	if test -n "$$found" && $(BIN)/uv pip install --quiet --no-index --no-deps $(TORCH) 2>/dev/null; then :; \
	elif $(BIN)/uv pip install --quiet --constraint constraints.txt --torch-backend=auto $(TORCH) 2>/dev/null; then :; \
	else echo "no build of torch for CPUs alone is within reach for this Python: taking the index's, which may bring accelerator packages"; \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH); fi

.DEFAULT_GOAL := help
.PHONY: help demo test test-heavy check format bench leaderboard clean

help:  ## show the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "shelfcast needs Python 3.11 or newer; got $$($(PYTHON) --version). Try: make PYTHON=python3.12 demo"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(INSTALL_TORCH)
	@$(FIND_LINKS); VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[dev,classical,nets]'
	@touch $@

demo: $(STAMP)  ## the whole cycle on the embedded sample: check, backtest, forecast, orders, report
	@$(BIN)/shelfcast demo

test: $(STAMP)  ## checks (format, lint, types, layers) and the default tests
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -q -n 2

test-heavy: $(STAMP)  ## the tests that take long or much memory
	@$(BIN)/python -m pytest -q -m heavy

check: $(STAMP)  ## format, lint, types, layers, file size
	@$(BIN)/ruff format --check --quiet src tests benchmarks scripts || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet src tests benchmarks scripts
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python scripts/check_layers.py

format: $(STAMP)  ## format and sort imports
	@$(BIN)/ruff format --quiet src tests benchmarks scripts
	@$(BIN)/ruff check --quiet --fix src tests benchmarks scripts

bench: $(STAMP)  ## the benchmarks that docs/benchmarks.md quotes
	@for script in $(filter-out benchmarks/story%,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

leaderboard: $(STAMP)  ## every generation on three data sets: docs/leaderboard.md; goes on where it was stopped
	@$(BIN)/python benchmarks/story.py
	@$(BIN)/python benchmarks/story_tables.py

clean:  ## remove the environment and what the demo wrote
	rm -rf $(VENV) shelfcast-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
