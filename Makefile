# What a person or CI types. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tools that check the project, pinned; installed into .venv and target/tools.
TYPOS_VERSION := 1.52.0
MINISTACK_VERSION := 1.5.33
CARGO_DENY_VERSION := 0.20.2

TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
TYPOS := .venv/bin/typos
# Says which versions .venv holds: another one here makes it anew.
VENV := .venv/typos-$(TYPOS_VERSION)-ministack-$(MINISTACK_VERSION)
DEMO := target/demo
FLOWHERD := target/release/flowherd

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.PHONY: demo
demo: build ## Synthesise a small day of logs, convert it, show the report and the first rows
	@rm -rf $(DEMO)
	@echo "== a small day of logs, as Firehose writes them"
	$(FLOWHERD) synth $(DEMO)/day --objects 48 --records 20000 --odd 1
	@echo
	@echo "== converted"
	$(FLOWHERD) convert $(DEMO)/day $(DEMO)/results --prefix firehose/ --lookups $(DEMO)/day/lookups.json
	@echo
	@echo "== the first rows of the first object"
	@# head stops reading early, which makes gzip complain; that is all there is to it.
	@file=$$(find $(DEMO)/results/csv -type f | sort | sed -n 1p); (gzip -dc "$$file" 2>/dev/null || true) | head -n 4
	@echo
	@echo "== one rejected record, and why"
	@file=$$(find $(DEMO)/results/rejects -type f | sort | sed -n 1p); (gzip -dc "$$file" 2>/dev/null || true) | head -n 1
	@echo
	@echo "Next: $(FLOWHERD) explain FILE, with any file below $(DEMO)/day; then your own logs: $(FLOWHERD) convert --help"

.PHONY: build
build: ## The command, optimised: target/release/flowherd
	@echo "== building (a minute the first time)"
	@command -v cargo >/dev/null || { echo "make: no cargo; install Rust with rustup"; exit 1; }
	@cargo build --release --locked --quiet --package flowherd

.PHONY: test
test: $(VENV) ## All tests; the local AWS that some need is installed into .venv
	cargo test --workspace --locked --lib --tests

.PHONY: check
check: $(DENY) $(VENV) ## Formatting, lints, licences, spelling, purity of the core: what CI runs beside the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo doc --workspace --no-deps --locked --quiet
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources
	$(TYPOS)
	@echo "shared stays pure: no AWS types, no async runtime, no clock, no environment, no files"
	@! cargo tree --locked --package flowherd-shared --edges normal --prefix none | grep -E '^(aws|tokio|async|lambda|hyper)'
	@! grep -rnE '\b(fs|env|process|thread|Instant|SystemTime)::' shared/src
	@echo "checked"

.PHONY: bench
bench: build ## Speed of the pipeline by stage, of planning, and of a worker's start
	cargo bench --locked --package flowherd-tests --bench pipeline
	cargo bench --locked --package flowherd-tests --bench fleet

.PHONY: fuzz
fuzz: ## A bounded run of each fuzz target (needs a nightly toolchain and cargo-fuzz)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "make: no cargo-fuzz; cargo install cargo-fuzz"; exit 1; }
	@for target in $$(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do \
	  cargo +nightly fuzz run --fuzz-dir tests/fuzz "$$target" -- -max_total_time=$${FUZZ_SECONDS:-60} -max_len=65536; \
	done

.PHONY: clean
clean: ## Removes everything that was built or installed here
	rm -rf target .venv tests/fuzz/target

$(DENY):
	cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --debug --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(VENV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: no python3 of version 3.11 or later; install it"; exit 1; }
	rm -rf .venv
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check typos==$(TYPOS_VERSION) ministack==$(MINISTACK_VERSION)
	touch $(VENV)
