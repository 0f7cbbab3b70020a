# `make demo` and `make test` are all the set-up there is: each makes its own
# virtual environment in .venv when there is none.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := $(wildcard tfnas tflite_bench android_bench)

.PHONY: demo test test-slow lint

demo: .venv/installed
	$(BIN)/tfnas-run --config=configs/densenas_mbv2.py:local --workdir=runs/demo

test: .venv/installed
	$(BIN)/python -m pytest

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES)

.venv/installed: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable ".[dev]"
	touch $@
