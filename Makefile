# `make help` lists the targets. Each does its own set-up; nothing has to be run before.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build test cold fuzz sim model chaos proof lint

# Where rustup puts cargo; the shells of services and containers often lack it.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Passed to `leasehold demo` and the model: make demo ARGS=--keep
ARGS ?=
# Seeds of the simulator: `make test` runs TEST_SEEDS, `make sim` SEEDS.
TEST_SEEDS ?= 2000
# Tests at the same time: those on real processes wait, most of their time, and take the longest.
TEST_THREADS ?= 4
SEEDS ?= 100000
# Cases of each of the fuzzing tests.
CASES ?= 100000
# For how long `make chaos` goes on, and what its faults are drawn from.
MINUTES ?= 30
SEED ?= 1

STAGE := @scripts/stage
# A shell in which cargo links the cached RocksDB.
CARGO := bash -c 'set -euo pipefail; . scripts/env; exec cargo "$$@"' cargo
# The same for `cargo build`, with how long is left.
BUILD := bash -c 'set -euo pipefail; . scripts/env; exec scripts/build "$$@"' build

help: ## List the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

demo: ## See it work: three sites, 300 engines, two kills (ARGS=--keep leaves it running)
	@scripts/demo $(ARGS)

build: ## Build the programs as users run them, into target/release
	$(STAGE) "tools" scripts/setup build
	$(STAGE) "build" $(BUILD) --release --package leasehold --package license-node --bins

test: ## Run every test, as CI does
	@echo "Tests: warm, some minutes; on a new machine RocksDB and all crates are built first (see README.md)"
	$(STAGE) "tools" scripts/setup test
	$(STAGE) "programs" $(BUILD) --workspace --bins
	$(STAGE) "test programs" $(CARGO) test --locked --workspace --no-run --quiet
	$(STAGE) "Python client, Prometheus" scripts/test-tools
	$(STAGE) "alert rules" scripts/test-tools promtool test rules deploy/prometheus/rules.test.yml
	$(STAGE) "tests, with $(TEST_SEEDS) seeds of the simulator" \
		env LEASEHOLD_SIM_SEEDS=$(TEST_SEEDS) RUST_TEST_THREADS=$(TEST_THREADS) scripts/test-tools $(CARGO) test --locked --workspace --no-fail-fast

cold: ## Measure a cold start, before and now, in an empty HOME (forty minutes of two cores)
	@scripts/cold

fuzz: ## All machines under whatever a peer may send, as users run them (CASES=100000)
	$(STAGE) "tools" scripts/setup build
	$(STAGE) "fuzzing, $(CASES) cases each" env LEASEHOLD_FUZZ_CASES=$(CASES) \
		cargo test --locked --release --package leasehold-core fuzz

sim: ## Run the simulator alone, on all cores (SEEDS=100000)
	$(STAGE) "tools" scripts/setup build
	$(STAGE) "simulator, $(SEEDS) seeds" $(CARGO) run --locked --package leasehold-sim -- --seeds 0..$(SEEDS)

model: ## Check every state of the small model, and note the results (ARGS=--large: wider bounds)
	$(STAGE) "tools" scripts/setup build
	$(STAGE) "exhaustive model" $(CARGO) run --locked --package leasehold-model -- \
		$(ARGS) --results docs/proof/results/model.json

chaos: ## Faults on real processes under load, as root on disks too (MINUTES=30 SEED=1)
	$(STAGE) "tools" scripts/setup build
	$(STAGE) "programs" $(CARGO) build --locked --package leasehold --package leasehold-cluster-tests --bins
	$(STAGE) "chaos, $(MINUTES) minutes" target/debug/leasehold-chaos --minutes $(MINUTES) --seed $(SEED) \
		--results docs/proof/results/chaos.json

proof: ## Write docs/proof.md from docs/proof
	$(STAGE) "tools" scripts/setup build
	$(STAGE) "docs/proof.md" $(CARGO) run --locked --quiet --package leasehold-proof

lint: ## Formatting, clippy, crate arrows, docs, dependencies: all without a warning
	$(STAGE) "tools" scripts/setup lint
	$(STAGE) "formatting" cargo fmt --all --check
	$(STAGE) "crate arrows" scripts/check-layering
	$(STAGE) "links in Markdown" scripts/check-links
	$(STAGE) "dependencies" scripts/check-dependencies
	$(STAGE) "shell scripts" scripts/check-shell
	$(STAGE) "deploy" deploy/check
	$(STAGE) "clippy" $(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	$(STAGE) "documentation" env RUSTDOCFLAGS="--deny warnings" \
		$(CARGO) doc --locked --workspace --no-deps
