# Two commands are the front door: `make run` and `make test`. The rest serves them.

PYTHON ?= python3
BIN := .venv/bin
PEERS := vllm-router sglang-router smg
JOBS := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)

# llama-cpp-python is compiled on this machine. These flags leave out what the server doesn't need, which
# brings the build down to a minute or two on two cores; its code fits every CPU of the last ten years.
LLAMA_CPP := CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF \
	-DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/scripts/llama_cpp_fast_build.cmake"

.PHONY: setup run test check bench bench-peers clean help
.DEFAULT_GOAL := help

help:  ## what can be made here
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/ready models/demo/ready  ## the whole environment in .venv, and the demo model

run: setup  ## start the router on router.yaml, which launches a real engine
	@$(BIN)/python -m router --config router.yaml

check: .venv/ready  ## lint, format, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup check  ## every check and test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include='router/core/*,launchers/states.py' --fail-under=100

bench-peers:  ## install the routers that `make bench` measures ours against
	for peer in $(PEERS); do \
		$(PYTHON) -m venv .peers/$$peer && .peers/$$peer/bin/pip install --quiet --disable-pip-version-check $$peer || exit 1; \
	done

bench: setup  ## what the router adds to a request and to a streamed event
	$(BIN)/python -m scripts.bench

clean:  ## remove what setup made
	rm -rf .venv models/demo build *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/ready: pyproject.toml constraints.txt Makefile scripts/llama_cpp_fast_build.cmake
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 2; }
	@command -v cc >/dev/null || { \
		echo "A C/C++ compiler is needed to build llama.cpp: apt install build-essential, or xcode-select --install"; exit 2; }
	$(PYTHON) -m venv .venv
	$(LLAMA_CPP) $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[llama-cpp,dev]'
	@touch $@

models/demo/ready: scripts/make_demo_model.py .venv/ready
	$(BIN)/python scripts/make_demo_model.py models/demo
	@touch $@
