# Everything here works from a fresh clone: each target first sets up what is missing.
# PYTHON names the Python that begins the setup; 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
EXAMPLES ?= 5000
# Tests of whole processes wait for chains and databases as long as they compute.
WORKERS ?= 4
# Packages younger than a week are left out of the lock: a bad release is mostly found by then.
LOCK_BEFORE ?= $(shell $(PYTHON) -c 'from datetime import *; print(date.today() - timedelta(days=7))')

# Ape's data stays in the project, so that two checkouts do not meet in the home folder.
export APE_DATA_FOLDER := $(CURDIR)/.ape
# Compiled modules are kept: without them each process of the tests compiles the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up pages wheel docs test test-all coverage check bench-crash bench-gas bench-keeper bench-indexer bench-market bench-proxy bench-revocation bench-scale bench-web fuzz mutants format lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing (every other target does it by itself)
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) was not found: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -m scripts.setup

demo: setup ## the whole journey on a local chain with a local model
	@$(BIN)/current demo $(ARGS)

up: setup ## the same stack, left running; Ctrl-C stops it. ARGS=--fresh starts over
	@$(BIN)/current up $(ARGS)

pages: setup ## write the types of both servers' HTTP for the pages, and check the pages' types
	@$(BIN)/python -m scripts.export_openapi
	@cd web && node types.mjs && npx --no-install tsc --noEmit

wheel: setup ## one wheel with ABI, migrations and pages, in dist/: what an operator installs
	@$(BIN)/python -m scripts.build_wheel

docs: setup ## the documents as a site, in dist/docs: strict, offline, with search
	@$(BIN)/python -m scripts.build_docs

test: check ## the checks, then every test but the slow ones
	@$(BIN)/python -m pytest -p ape_test -n 2 -m "not slow" tests/contract
	@$(BIN)/python -m pytest -p tests.support.forked --forks $(WORKERS) -m "not slow and not bench"

test-all: export ALL_EXAMPLES = 1
test-all: check ## the slow tests too
	@$(BIN)/python -m pytest -p ape_test -n 2 tests/contract
	@$(BIN)/python -m pytest -m "not bench"
	@$(BIN)/python -m scripts.pure_coverage

coverage: setup ## how much of each pure module the quick tests run; 95 % at least
	@$(BIN)/python -m scripts.pure_coverage $(ARGS)

check: setup ## formatting, lint, types, import rules
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --num-workers 2
	@$(BIN)/lint-imports

bench-crash: setup ## kill -9 behind 60 answered requests: the charges on record, ours and LiteLLM's budget's
	@$(BIN)/python -m bench.crash.main $(ARGS)

bench-gas: setup ## our gas beside OpenZeppelin, solady and solmate (docs/performance.md)
	@$(BIN)/python -m bench.gas.main

bench-indexer: setup ## the indexer beside its limit, a plain script and Ponder. ARGS="--blocks 200"
	@$(BIN)/python -m bench.indexer.main $(ARGS)

bench-market: setup ## routing decisions over 10 to 100,000 offers, and what the market adds to a request
	@$(BIN)/python -m bench.market.main $(ARGS)

bench-proxy: setup ## the proxy beside a bare pass-through, LiteLLM and Portkey (docs/performance.md). ARGS="--rounds 5"
	@$(BIN)/python -m bench.proxy.main $(ARGS)

bench-revocation: setup ## from a mined revocation to the first 401, and to the end of a stream. ARGS="--rounds 20"
	@$(BIN)/python -m bench.revocation.main $(ARGS)

bench-scale: setup ## 1 to 4 proxies and 1 to 2 markets on one full PostgreSQL. ARGS="--positions 10000 --usage 100000"
	@$(BIN)/python -m bench.scale.main $(ARGS)

bench-web: setup ## what the pages load, clicks, a list of 100,000 rows, and completions beside visitors. ARGS="--requests 50"
	@$(BIN)/python -m bench.web.main $(ARGS)

bench-keeper: setup ## gas per settled request, and the keeper's cost of many positions. ARGS=--positions=100000
	@$(BIN)/python -m bench.keeper.main $(ARGS)

fuzz: setup ## long random play against the contracts. EXAMPLES=5000 games for each machine
	@CONTRACT_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -m slow tests/property/contracts/test_play.py

mutants: setup ## break the contracts on purpose; the tests must notice. ARGS=--list
	@$(BIN)/python -m scripts.mutants $(ARGS)

format: setup ## rewrite the sources in the project's format
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

lock: setup ## pin every dependency again, with hashes
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/lock.sh $(LOCK_BEFORE)

clean: ## remove everything that was installed, compiled or run here
	rm -rf .venv node_modules web/node_modules proxy/site market/site dist .build .ape .current .cache .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis bench/node_modules bench/*/node_modules bench/results \
		tests/e2e/sdk/node_modules tests/e2e/opencode/node_modules *.egg-info
