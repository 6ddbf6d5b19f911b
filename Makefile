# `make` alone lists what there is.

CARGO ?= cargo
# Arguments for the demo, such as --json or --listen 127.0.0.1:0.
ARGS ?=
# How long each fuzz target runs.
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help demo test setup fmt lint generate deny bench fuzz release

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: ## builds the gateway and serves a sample upstream on 127.0.0.1:8080; Ctrl-C ends it
	@.ci/setup build
	@echo "building the optimised binary; the first time takes some minutes" >&2
	@$(CARGO) build --release --locked
	@exec "$${CARGO_TARGET_DIR:-target}/release/portcullis" demo $(ARGS)

test: ## runs all tests, the examples in the documentation too, and compiles the benchmarks
	@.ci/setup test
	$(CARGO) test --locked --benches --no-run
	$(CARGO) test --locked --no-fail-fast

setup: ## installs what building and testing need
	@.ci/setup test

fmt: ## formats the code
	$(CARGO) fmt

lint: ## checks format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings

generate: ## writes what is made of the code and of data: rules, schemas, reference, copies for the chart
	$(CARGO) run --locked --quiet --example sentry-rules -- --write
	$(CARGO) build --locked --quiet
	@set -e; bin="$${CARGO_TARGET_DIR:-target}/debug/portcullis"; \
	"$$bin" generate schema > config/portcullis.schema.json; \
	"$$bin" generate schema --rules > config/rules.schema.json; \
	"$$bin" generate reference > config/reference.md
	cp deploy/prometheus/portcullis.rules.yml deploy/prometheus/portcullis.alerts.yml deploy/helm/portcullis/files/

deny: ## checks licences, bans, sources and advisories of the dependencies
	@.ci/deny

release: ## makes the archive of a release, its list of crates and checksums in target/dist
	@.ci/setup build
	@.ci/release

bench: ## runs the benchmarks
	@.ci/setup build
	$(CARGO) bench --locked --bench '*'

# The code has no unsafe block, so the sanitizers would find nothing of ours.
fuzz: ## runs every fuzz target for FUZZ_SECONDS (60), with a nightly toolchain
	@.ci/setup build
	@test -f fuzz/Cargo.toml || { echo "fuzz: there is no fuzz/Cargo.toml" >&2; exit 2; }
	@$(CARGO) +nightly --version >/dev/null 2>&1 || \
		{ echo "fuzz: no nightly toolchain; rustup toolchain install nightly" >&2; exit 2; }
	@$(CARGO) fuzz --version >/dev/null 2>&1 || \
		{ echo "fuzz: installing cargo-fuzz" >&2; $(CARGO) install cargo-fuzz --locked; }
	@set -e; \
	targets=$$($(CARGO) +nightly fuzz list); \
	for target in $$targets; do \
		echo "fuzz: $$target, $(FUZZ_SECONDS) s"; \
		$(CARGO) +nightly fuzz run --sanitizer none "$$target" -- -max_total_time=$(FUZZ_SECONDS); \
	done
