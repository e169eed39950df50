# albacore: the two commands of a new user are `make demo` and `make test`; the others are their parts.

export ALBACORE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/albacore
export CARGO_TARGET_DIR ?= $(ALBACORE_CACHE)/target
comma := ,
BIN := $(CARGO_TARGET_DIR)/debug

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(ALBACORE_CACHE)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

.PHONY: simulate bench memory demo test fmt lint deny unit parity swap e2e cluster double build release tools

demo: build                       ## an Ingress becomes a load balancer, before your eyes; KEEP=1 leaves it running
	@$(BIN)/albacore-scenarios demo $(if $(KEEP),--keep)

test: fmt lint deny tools unit parity swap e2e   ## everything that CI runs

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --quiet -- -D warnings

deny: $(CARGO_DENY)
	$(CARGO_DENY) --log-level warn --workspace check licenses bans sources

$(CARGO_DENY):
	@echo "building cargo-deny $(CARGO_DENY_VERSION) (minutes, once a machine)"
	cargo install cargo-deny --quiet --locked --version $(CARGO_DENY_VERSION) --root $(ALBACORE_CACHE)/cargo-deny-$(CARGO_DENY_VERSION) --target-dir $(ALBACORE_CACHE)/target-tools

build:                            ## every binary: the controller, the AWS double, the test cluster
	cargo build --workspace --bins --quiet

release:                          ## the controller as it is shipped: $(CARGO_TARGET_DIR)/release/albacore
	RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs" cargo build --release --bin albacore --quiet

tools: build                      ## control plane, kubectl and helm, built from source into the cache
	@$(BIN)/albacore-cluster tools

unit:                             ## unit and simulation tests, the double's own tests, boto3 against the double
	cargo test --workspace

SEEDS ?= 1000
FROM ?= 1
simulate:                         ## random wishes and random trouble: SEEDS=1000 seeds FROM=1 on; VERBOSE=1 tells all
	cargo build --quiet --package albacore-simulation
	@$(BIN)/albacore-simulation seeds --from $(FROM) --count $(SEEDS) $(if $(VERBOSE),--verbose)

bench:                            ## what 50, 300 and 900 groups cost and how long they take; GROUPS_OF=50 for less
	cargo build --quiet --package albacore-simulation
	@$(BIN)/albacore-simulation bench --output $(CARGO_TARGET_DIR)/bench/calls.json --groups $(or $(GROUPS_OF),50$(comma)300$(comma)900)

memory: release                   ## resident memory of the release binary, alone in its process, against its limits
	cargo build --quiet --package albacore-simulation
	@$(BIN)/albacore-simulation memory --binary $(CARGO_TARGET_DIR)/release/albacore --output $(CARGO_TARGET_DIR)/bench/memory.json

parity: tools                     ## what ALBC did with recorded manifests, compared; CASES=folder runs other cases
	@$(BIN)/albacore-parity $(or $(CASES),e2e/parity/cases)

swap: tools                       ## what ALBC left, taken over: nothing may be written
	@$(BIN)/albacore-parity $(or $(CASES),e2e/parity/cases) --swap

e2e: tools                        ## the chart on a real control plane, end to end; GROUPS_OF=50 where there are many
	@$(BIN)/albacore-scenarios test --groups $(or $(GROUPS_OF),12)

cluster: build                    ## a control plane with nodes, to play with
	@$(BIN)/albacore-cluster up

double: build                     ## the AWS double alone, on loopback; PORT=4566
	@$(BIN)/aws-double --port $(or $(PORT),4566)
