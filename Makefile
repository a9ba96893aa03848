# make report: the first thing to run. make test: everything that is checked.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PYTEST_ARGS ?=

.PHONY: report lab test lint bench clean

report: $(VENV)/.base
	$(BIN)/vizkit report --out report
	@echo "Open report/index.html in a browser."

lab: $(VENV)/.dev
	$(BIN)/vizkit lab notebooks

test: $(VENV)/.dev $(VENV)/.browser
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --nbmake \
	    tests notebooks $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.base
	$(BIN)/vizkit bench

clean:
	rm -rf $(VENV) report build dist

$(VENV)/bin/python:
ifdef UV
	uv venv --seed --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

$(VENV)/.base: $(VENV)/bin/python pyproject.toml
ifdef UV
	uv pip install --quiet --python $(BIN)/python -e .
else
	$(BIN)/python -m pip install --quiet -e .
endif
	@touch $@

$(VENV)/.dev: $(VENV)/.base
ifdef UV
	uv pip install --quiet --python $(BIN)/python -e ".[dev]"
else
	$(BIN)/python -m pip install --quiet -e ".[dev]"
endif
	@touch $@

# a browser for the page tests: the system's, else Debian's package, else playwright's own;
# where none can be had, those tests are skipped and say so
$(VENV)/.browser: $(VENV)/.dev
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	|| (command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	    && apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium >/dev/null) \
	|| $(BIN)/python -m playwright install chromium \
	|| echo "No Chromium: the browser tests will be skipped."
	@touch $@
