# `make demo` and `make test` are all the set-up there is: each makes its own
# virtual environment in .venv when there is none.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := $(wildcard tfnas tflite_bench android_bench)

.PHONY: demo test test-slow test-tflite-runtime lint

demo: .venv/installed
	$(BIN)/tfnas-run --config=configs/densenas_mbv2.py:local --workdir=runs/demo

# -rs says which tests were skipped for want of a program, as `adb`. A file of
# tests stays on one of the two cores, and its fixtures with it.
test: .venv/installed
	$(BIN)/python -m pytest -rs -n 2 --dist loadfile --durations=10

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

# The older runtime needs numpy 1, so it has an environment of its own.
OLD := .venv-tflite-runtime/bin
test-tflite-runtime:
	test -x $(OLD)/python || $(PYTHON) -m venv .venv-tflite-runtime
	$(OLD)/python -m pip install "numpy<2" "tflite-runtime==2.14.0" \
		"ai-edge-litert>=2.3,<3" absl-py tqdm pytest
	$(OLD)/python -m pytest tests/tflite_bench/test_tflite_runtime.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES)

.venv/installed: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile --editable ".[dev]"
	touch $@
