# Stoker. `make help` lists what can be done.
SHELL := /bin/bash
PY := .venv/bin/python
PYTEST := $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo down test lint unit e2e fuzz format generate verify lock images clean

help: ## list these targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv (with .venv/bin/stoker) from requirements/
	@scripts/setup

demo: setup ## set up everything, start the local cluster, serve a model, ask it four questions
	@$(PY) -m stoker.cli.demo

down: ## stop the local cluster
	@.venv/bin/stoker down

test: setup lint ## all tests: lint, unit, golden, and end to end on a real local cluster
	@.venv/bin/stoker binaries
	@$(PYTEST) tests e2e --durations=20

lint: setup ## ruff, mypy strict, import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

unit: setup ## unit, golden and API server tests (no root needed)
	@$(PYTEST) tests

fuzz: setup ## 100,000 made-up objects through the webhook's rules and a real API server (about an hour)
	@STOKER_FUZZ=100000 $(PYTEST) tests/webhook/test_fuzz.py -s --timeout=0

e2e: setup ## end-to-end tests on a real local cluster (root or sudo)
	@$(PYTEST) e2e

format: setup ## format the code
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format --quiet .

generate: setup ## write golden files, schemas and Envoy's bootstrap anew
	@scripts/generate

verify: setup ## fail when what is generated differs from what is committed
	@scripts/generate --verify

lock: setup ## resolve pyproject.toml again into requirements/
	@scripts/lock

images: setup ## build the container images with buildah and ask one for a completion (root)
	@scripts/images

clean: ## remove what was made inside the checkout
	rm -rf .venv artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
