# Two commands on a fresh machine with python3, make and a network:
#   make demo    install and run the whole chain: on scenes it draws itself, or on your folders with
#                make demo IMAGES=thermal/ RGB=rgb/ LABELS=labels.csv [MINUTES=30]
#   make test    install and run every check and every test
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

# Tests on real images skip, and say so, where there are none.
ifndef DINOTOOL_DATA
  ifneq ($(wildcard ../shared/data),)
    export DINOTOOL_DATA := $(abspath ../shared/data)
  endif
endif

.PHONY: demo test check torture fuzz setup linked
.DEFAULT_GOAL := demo

demo: linked
	@$(BIN)/dinotool run $(if $(IMAGES)$(RGB)$(LABELS),$(if $(IMAGES),"$(IMAGES)") $(if $(RGB),--rgb "$(RGB)") $(if $(LABELS),--labels "$(LABELS)"),--demo -w demo) $(if $(MINUTES),--minutes $(MINUTES))

test: check
	@$(BIN)/python -m pytest -q --durations=8 --doctest-modules --pyargs dinonat tests

check: linked
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

torture: linked  ## the tests that kill and resume, many more times
	@DINOTOOL_TORTURE=$(or $(ROUNDS),30) $(BIN)/python -m pytest -q tests -k "kill or torture"

fuzz: linked  ## damaged files of every container, 20 000 of each (ROUNDS); those that fail are kept
	@DINOTOOL_FUZZ=$(or $(ROUNDS),20000) $(BIN)/python -m pytest -q -rP --basetemp=.venv/fuzz tests/images/test_fuzz.py

setup: $(STAMP)

# A strict editable install links file by file, so it is made anew: files may have come or gone.
linked: $(STAMP)
	@$(PIP) --no-deps --no-build-isolation -e . --config-settings editable_mode=strict

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: '$(PYTHON)' is missing or older than Python 3.11. Install python3, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "make: $(PYTHON) cannot make a virtual environment. Install the package python3-venv (sudo apt install python3-venv), then run make again." >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "Installing torch $(TORCH) for CPUs into .venv"
	@$(MAKE) --no-print-directory --silent torch
	@echo "Installing dinonat and what it needs into .venv"
	@$(PIP) -c constraints.txt -e ".[dev]" --config-settings editable_mode=strict
	@touch $@

# The CPU build is called $(TORCH)+cpu on Linux, so asking for that name can never bring the CUDA build of
# 3 GB: first from where pip looks anyway (a wheel on this disk, a mirror), then from PyTorch's own index.
# macOS and Windows have no other build than the CPU's, under the plain name.
.PHONY: torch
torch:
	@$(BIN)/python -c 'import torch' 2> /dev/null \
	|| $(PIP) "torch==$(TORCH)+cpu" 2> /dev/null \
	|| $(PIP) --retries 2 --timeout 30 --extra-index-url $(TORCH_INDEX) "torch==$(TORCH)+cpu" 2> /dev/null \
	|| { test "$$(uname -s)" != Linux -o -n "$(ANY_TORCH)" && $(PIP) "torch==$(TORCH)"; } \
	|| { echo "make: found no CPU build of torch $(TORCH), neither where pip looks nor at $(TORCH_INDEX). Install torch into .venv yourself, or allow the CUDA build of about 3 GB: make ANY_TORCH=1" >&2; exit 1; }
