# `make demo` and `make test` set up everything they need in .venv; a second call is quick.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SHELL := /bin/bash
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Strict editable installs link each file under build/, so a new or removed file in one of these folders needs a new link.
FOLDERS := $(shell find src spaces objectives search experiments -type d -not -name __pycache__ 2>/dev/null)

.PHONY: demo test test-slow browser lint install wheel-test clean

demo: install
	$(BIN)/paretune search experiments/digits.yaml

test: install
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: install browser
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --timeout 1800

# The slow tests look at pages in a real browser: one that is there, or else one that is installed now.
browser: install
	@$(BIN)/python -m tests.end_to_end.chromium

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/linked

.venv/linked: .venv/installed pyproject.toml $(FOLDERS)
	@rm -rf build
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

.venv/installed: requirements.lock
	@echo "Setting up .venv (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --requirement requirements.lock
	@touch $@

# The wheel, installed into an empty environment, must answer.
wheel-test: install
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --constraint requirements.lock dist/paretune-*.whl
	cd .venv-wheel && bin/paretune --version && bin/paretune --help && bin/paretune doctor "$$(bin/python -c 'from importlib.resources import files; print(files("paretune.experiments") / "breast_cancer.yaml")')"
	rm -rf .venv-wheel

clean:
	rm -rf .venv .venv-wheel build dist
