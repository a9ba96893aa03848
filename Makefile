# make report: the first thing to run. make test: everything that is checked.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PYTEST_ARGS ?=
# tests wait for browsers and other processes now and then: more of them than cores. The notebooks
# come first: a long one would be run alone at the end
PYTEST_WORKERS ?= 3
BENCH_MODELS ?= vgg16,vgg19_bn,ese_vovnet19b_dw
BENCH_RECORD ?= notebooks/tables/benchmarks.json
BENCH_ARGS ?=

.PHONY: report lab test lint bench clean

report: $(VENV)/.base
	$(BIN)/vizkit report --out report
	@echo "Open report/index.html in a browser."

lab: $(VENV)/.dev
	$(BIN)/vizkit lab notebooks

test: $(VENV)/.dev $(VENV)/.browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist loadfile \
	    --no-loadscope-reorder --nbmake notebooks tests $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# about fifteen minutes, best with nothing else running; then notebooks/benchmarks.md is made again
bench: $(VENV)/.bench
	$(BIN)/vizkit bench all --models $(BENCH_MODELS) --weights none --device cpu \
	    --out $(BENCH_RECORD) $(BENCH_ARGS)
	$(BIN)/vizkit bench page $(BENCH_RECORD) --out notebooks/benchmarks.md

clean:
	rm -rf $(VENV) report build dist

$(VENV)/bin/python:
ifdef UV
	uv venv --seed --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

# bytecode is written when a module is first used: to compile all of them takes a minute
export PYTHONDONTWRITEBYTECODE :=
ifdef UV
INSTALL := uv pip install --quiet --python $(BIN)/python -e
else
INSTALL := $(BIN)/python -m pip install --quiet --no-compile -e
endif

$(VENV)/.base: $(VENV)/bin/python pyproject.toml
	$(INSTALL) .
	@touch $@

# what tests and benchmarks need holds all that the package needs
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(INSTALL) ".[dev]"
	@touch $(VENV)/.base $@

$(VENV)/.bench: $(VENV)/bin/python pyproject.toml
	$(INSTALL) ".[bench]"
	@touch $(VENV)/.base $@

# a browser for the page tests: the system's, else Debian's package, else playwright's own;
# where none can be had, those tests are skipped and say so
$(VENV)/.browser: $(VENV)/.dev
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	|| (command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	    && apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium >/dev/null) \
	|| $(BIN)/python -m playwright install chromium \
	|| echo "No Chromium: the browser tests will be skipped."
	@touch $@
