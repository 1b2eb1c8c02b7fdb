# Every target sets up what it needs: `make demo` and `make test` are all a fresh machine has to run.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
TORCH  := $(shell sed -n 's/^torch==//p' constraints.txt)
# Where PyTorch publishes its CPU builds; used on Linux machines without a GPU, where PyPI's build brings gigabytes of CUDA.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# With another process on a core, spinning OpenMP threads ran at a quarter of one thread's speed.
export OMP_WAIT_POLICY = PASSIVE
export HF_HUB_DISABLE_TELEMETRY = 1
export PYTHONUNBUFFERED = 1

.PHONY: help setup demo test check bench docs site picture format clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(VENV)/.ready  ## Make .venv and install everything

$(VENV)/.ready: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Diglot needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import torch' 2>/dev/null || $(MAKE) --no-print-directory torch
	$(PIP) install --quiet -c constraints.txt -e '.[web,language,quality,translate,cluster,sentencepiece,tensorboard,adapter,align,evaluate,report,gguf,serve,dev]'
	touch $@

# A GPU or another system takes PyPI's build. A Linux machine without a GPU takes the CPU build: where pip is set up
# to find it, else from PyTorch's own index.
.PHONY: torch
torch:
	@if [ "$$(uname -sm)" != "Linux x86_64" ] || command -v nvidia-smi >/dev/null; then \
		$(PIP) install --quiet -c constraints.txt torch; \
	else \
		$(PIP) install --quiet -c constraints.txt 'torch==$(TORCH)+cpu' 2>/dev/null \
		|| $(PIP) install --quiet -c constraints.txt --extra-index-url $(TORCH_CPU_INDEX) 'torch==$(TORCH)+cpu' \
		|| $(PIP) install --quiet -c constraints.txt torch; \
	fi

demo: setup  ## The whole pipeline on the invented world: about 10 minutes on 2 cores
	$(BIN)/diglot run recipes/quickstart.yaml

# Three processes on two cores, as many tests wait for processes and signals. A file's tests stay together, since they
# share what is made once, in the order of tests/conftest.py.
THREE := -n 3 --dist loadfile --no-loadscope-reorder

test: setup  ## All tests but the longest
	$(BIN)/python -m pytest -q -m 'not full' $(THREE)

test-full: setup  ## All tests, and random searches that look ten times as far
	$(BIN)/python -m pytest -q --hypothesis-profile=wide $(THREE)

check: setup  ## Lint, types and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m 'not slow and not full' $(THREE)

bench: setup  ## All benchmarks in their quick form; the first time each makes the peers' environments
	for file in $$(ls benchmarks/*.py | grep -v common); do $(BIN)/python $$file --quick || exit 1; done

docs: setup  ## Write docs/tree.md, docs/settings.md with docs/recipe.schema.json, docs/sizes.md and docs/walk.md anew
	$(BIN)/python docs/make_tree.py
	$(BIN)/python docs/make_settings.py
	$(BIN)/python docs/make_sizes.py
	$(BIN)/python docs/make_walk.py

site: setup  ## Make the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

picture: setup  ## Take docs/report.png of the demo's report, where there is a Chromium
	$(BIN)/python docs/make_screenshot.py

format: setup  ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove runs and caches, keep .venv
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
