# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# What a person may want to set on the command line.
INVENTORY ?= inventories/lab
ANSIBLE_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
ROUNDS ?= 2

# The tools come from .venv and nowhere else; a world-writable checkout would lose its ansible.cfg without the second line.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@printf '\nSettings: INVENTORY=%s ANSIBLE_ARGS=... PYTEST_ARGS=... PYTHON=/path/to/python3\n' '$(INVENTORY)'

.PHONY: setup
setup: ## Install the tools into .venv (nothing to do when they are there)
	@tools/setup

.PHONY: deploy
deploy: setup ## From nothing to an answered question: tools, machines, llama.cpp, model, services
	@ansible-playbook playbooks/deploy.yml -i '$(INVENTORY)' $(ANSIBLE_ARGS)

.PHONY: teardown
teardown: setup ## Remove what deploy made, without asking
	@ansible-playbook playbooks/teardown.yml -i '$(INVENTORY)' -e teardown_confirm=true $(ANSIBLE_ARGS)

.PHONY: test
test: setup ## Run every test
	@python tools/run_tests.py

.PHONY: test-build
test-build: setup ## Make the llama.cpp that the tests use, and fetch its model, where they are not in the cache
	@PYTHONPATH=playbooks/collections:tests/support python tests/support/llama_cpp_build.py

.PHONY: test-lint
test-lint: setup lint-ansible lint-types ## ansible-lint, yamllint, changelog fragments, documentation of plugins and roles and its site, ruff, types of module_utils by mypy
	@yamllint --strict .
	@antsibull-changelog lint
	@antsibull-docs lint-collection-docs --plugin-docs .
	@ruff check --quiet .
	@python tools/docs_site.py

# These two look at all files, whichever of them a commit has (.pre-commit-config.yaml).
.PHONY: lint-ansible lint-types
lint-ansible:
	@ANSIBLE_COLLECTIONS_PATH='$(CURDIR)/playbooks/collections' ansible-lint --offline --strict -q

lint-types:
	@cd playbooks/collections && mypy --no-error-summary --config-file '$(CURDIR)/pyproject.toml' --cache-dir '$(CURDIR)/.cache/mypy' \
	    -p ansible_collections.herd.llama_cpp.plugins.module_utils

.PHONY: test-unit
test-unit: setup ## Unit tests of plugins, roles and playbooks
	@pytest $(PYTEST_ARGS)

.PHONY: coverage
coverage: setup ## How much of the Python of plugins and roles the unit tests go through, branches too; not a part of test
	@coverage run -m pytest -q -p no:cacheprovider $(PYTEST_ARGS)
	@coverage report

.PHONY: test-integration
test-integration: setup ## Roles and the planner against real parts on this machine's loopback addresses
	@pytest tests/integration $(PYTEST_ARGS)

.PHONY: test-every-case
test-every-case: setup ## Of what only a real llama.cpp can answer all of it, not the part that test-integration asks (needs root, takes an hour and a half)
	@EVERY_CASE=1 pytest tests/integration -k 'test_architectures or test_ask or test_plan_against or test_gguf_fuzz or test_gguf_model' $(PYTEST_ARGS)

.PHONY: test-repo
test-repo: setup ## The collection as a whole: argument specs, docs, links, the built tarball
	@pytest tests/repo $(PYTEST_ARGS)

.PHONY: test-sanity
test-sanity: setup ## ansible-test sanity on an installed copy
	@python tools/run_sanity.py

.PHONY: test-importer
test-importer: setup ## galaxy-importer on the built collection, without its ansible-lint
	@python tools/run_importer.py

.PHONY: test-versions
test-versions: setup ## Unit and repository tests with every other supported Python and ansible-core found here
	@tools/test-versions

.PHONY: test-molecule
test-molecule: setup ## Molecule scenarios on virtual machines (needs root); SCENARIO=name runs one, --timed those that hold a limit of time
	@tools/test-molecule $(SCENARIO)

.PHONY: test-cuda-build
test-cuda-build: setup ## Build all of llama.cpp with a real nvcc on a virtual machine, link and start it (needs root, takes half an hour)
	@tools/test-cuda-build

.PHONY: test-upgrade
test-upgrade: setup ## Of those the one that upgrades a cluster and takes it back (needs root)
	@tools/test-molecule upgrade

.PHONY: test-faults
test-faults: setup ## Every fault that molecule/faults knows, ROUNDS=2 times (needs root, takes half an hour each)
	@HERD_FAULTS=all HERD_FAULTS_ROUNDS='$(ROUNDS)' tools/test-molecule faults

.PHONY: test-offline
test-offline: setup ## A cluster out of a bundle, with no way to the outside (needs root)
	@tools/test-molecule offline

.PHONY: bench
bench: setup ## Measure deploys with 2, 4 and 8 workers, and tokens/s (needs root, takes long); BENCH_ARGS=...
	@python tests/benchmark/bench.py $(BENCH_ARGS)

.PHONY: bench-memory
bench-memory: setup ## Print what the planner predicts beside what llama.cpp allocates, for every recorded model shape
	@PYTHONPATH=playbooks/collections:tests/support python tests/benchmark/plan_accuracy.py

.PHONY: bench-plan
bench-plan: setup ## Measure from a model's header, on disk and over HTTP, to a plan
	@PYTHONPATH=playbooks/collections:tests/support python tests/benchmark/plan_time.py

.PHONY: pin
pin: setup ## Move the pinned llama.cpp: VERSION=b12345 is found, written down, built, asked anew, and what changed is shown
	@python tools/pin.py $(VERSION)

.PHONY: build
build: setup ## Build the collection's tarball
	@ansible-galaxy collection build --force

.PHONY: docs
docs: setup ## Write what is generated: docs/plugins.md, and this version in CHANGELOG.md
	@python tools/plugin_tables.py
	@antsibull-changelog release --use-ansible-doc --update-existing --refresh --reload-plugins

.PHONY: docs-site
docs-site: setup ## Build the site of the documentation into .cache/docs-site
	@python tools/docs_site.py .cache/docs-site

.PHONY: clean
clean: ## Remove what make left in the checkout: .venv, caches, tarballs
	@rm -rf .venv .ansible .cache .pytest_cache .hypothesis herd-llama_cpp-*.tar.gz changelogs/.plugin-cache.yaml
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
