# Fixed verbs, each one call of a tool. `make` alone prints them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
APPS := PYTHONPATH=tests:rig $(BIN)/python -m apps.record
RIG := PYTHONPATH=rig $(BIN)/python -m cluster_rig
RELEASE := PYTHONPATH=release:rig $(BIN)/python -m o365mailer_release
RANDOM_TESTS = $(shell grep -rlE "from support.seeds import|from hypothesis import" tests --include='test_*.py' | grep -v mutations)
# The demo and the cluster need a third of what development needs; a development environment serves them too.
RUNTIME = $(if $(wildcard .venv/.dev),.venv/.dev,.venv/.demo)

.PHONY: help demo test test-fast matrix check fmt apps soak fuzz mutants setup-node build cluster cluster-down images bench lock dist version notes clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## send three mails to an emulated Office 365, no cluster needed (KEEP=1 leaves it running)
	@$(BIN)/python demo/demo.py

test: .venv/.dev ## run everything that this machine can run, and name what it cannot (30 minutes)
	$(BIN)/python tests/run.py
	$(BIN)/python tests/run.py --release oldest
	@echo "== on the Python of the published images"
	@$(RIG) python pytest --phase=python --numprocesses=3 --dist=loadfile || [ $$? = 3 -a "$$CI" != true ]

matrix: .venv/.dev ## run the tests that can depend on Kubernetes on every supported version (30 minutes, 90 with the builds)
	$(BIN)/python tests/run.py --release every

test-fast: .venv/.dev ## run the tests that start no process (1 minute)
	$(BIN)/python -m pytest -q --phase=fast --numprocesses=2 --dist=loadfile

check: .venv/.dev ## run linters, types, architecture, promises, words, generated pages and links (1 minute)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/support/promises.py
	$(BIN)/python tests/support/words.py
	$(BIN)/python -m benchmarks --check
	$(APPS) --check
	$(BIN)/python charts/readme.py --check
	$(BIN)/python charts/dashboard.py --check
	$(RELEASE) check
	$(BIN)/zizmor --offline --no-progress --quiet .github
	$(BIN)/python -m pytest -q tests/project/test_links.py tests/project/test_architecture.py

fmt: .venv/.dev ## fix what ruff can fix, and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

apps: .venv/.dev ## run the programs that apps send with, and write docs/apps.md (4 minutes)
	$(APPS)

soak: .venv/.dev .venv/.soak ## run the random tests from a new seed (SEED=n), kill the relay 1,000 times (KILLS=n), run mutmut
	O365MAILER_SEED=$(or $(SEED),random) O365MAILER_SOAK_KILLS=$(or $(KILLS),1000) $(BIN)/python -m pytest -q $(RANDOM_TESTS)
	$(BIN)/python tests/mutations/breadth.py

mutants: .venv/.dev ## break the code in named ways; each must make a named test fail
	$(BIN)/python -m pytest tests/mutations

fuzz: .venv/.dev ## run the tests of hostile input with fifty times the examples, at random (15 minutes)
	O365MAILER_PROFILE=fuzz $(BIN)/python -m pytest -q tests/sidecar/test_hostile_*.py

setup-node: $(RUNTIME) ## install what a real node and the tests' programs need (root, Debian)
	@$(RIG) setup-node

build: .venv/.dev ## build all that the tests need and keep it outside the tree (8 minutes, once)
	@$(RIG) build --everything

images: $(RUNTIME) ## build the images with docker, podman or buildah
	@$(RIG) images

cluster: $(RUNTIME) ## start a real cluster on this machine with everything installed
	@$(RIG) try

cluster-down: $(RUNTIME) ## remove that cluster
	@$(RIG) down

bench: .venv/.dev ## measure the relay and its rivals, and write docs/benchmarks.md (12 minutes)
	$(BIN)/python -m benchmarks

lock: .venv/.dev ## resolve the dependencies again into locks/ (UPGRADE=1 takes newer versions)
	PATH=$(CURDIR)/$(BIN):$$PATH locks/lock

dist: .venv/.dev ## make the files of a release in dist/ (1 minute after `make images`)
	@$(RELEASE) dist --tag="$(TAG)" --registry="$(REGISTRY)"

version: .venv/.dev ## write a version into every place that says it (VERSION=0.2.0)
	@$(RELEASE) version "$(VERSION)"

notes: .venv/.dev ## print what CHANGELOG.md says of the version
	@$(RELEASE) notes

clean: ## remove what these commands made here (the cache outside the tree stays)
	rm -rf .venv build dist .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/.%: locks/%.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and sys.executable + " is Python " + sys.version.split()[0] + ", and 3.11 or newer is needed: name another with make PYTHON=python3.13")'
	@echo "Setting up .venv ($*)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip --quiet --disable-pip-version-check install --require-hashes --no-deps --only-binary :all: -r locks/$*.txt
	@$(BIN)/pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation --editable .
	@touch $@
