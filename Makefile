# What a person types. `make help` lists it.

CARGO ?= cargo
.DEFAULT_GOAL := help
.PHONY: help run test examples bench lint setup sdks services wasm fuzz deb

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@sh .ci/setup build

sdks:
	@sh .ci/setup sdks

services:
	@sh .ci/setup services

run: setup ## build the gateway and start it on 127.0.0.1:8080 (CONFIG=file.toml, or the providers found in the environment)
	$(CARGO) run -q -p ai-gateway -- run $(if $(CONFIG),--config $(CONFIG))

test: setup sdks services ## build and pass every test, the Python and Node SDKs included
	$(CARGO) build -p ai-gateway
	$(CARGO) test --workspace

examples: setup ## build and test the crates in examples/, which use the gateway as a library
	cd examples && CARGO_TARGET_DIR=../target $(CARGO) test --locked

wasm: setup ## compile the example plugins in WebAssembly and test the gateway that runs them
	@sh .ci/setup wasm
	.ci/wasm
	$(CARGO) build -p ai-gateway --features wasm
	$(CARGO) test -p ai-gateway-tests --features wasm --test wasm -- --test-threads 1

lint: ## format, clippy and documentation, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	for manifest in examples/*/Cargo.toml providers/fuzz/Cargo.toml tests/guest/Cargo.toml; do \
	    $(CARGO) fmt --manifest-path $$manifest --check || exit 1; done
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps -q

bench: setup ## measure the gateway against bare Pingora (about 5 minutes after the release build)
	$(CARGO) run -q --release -p ai-gateway-benches --bin compare

deb: setup ## build the Debian package: target/debian/ai-gateway_VERSION_ARCH.deb
	@sh .ci/setup deb
	$(CARGO) build --release -p ai-gateway
	systemd/build-deb.sh

fuzz: setup ## run every fuzz target for SECONDS=30 each
	@sh .ci/setup fuzz
	providers/fuzz/run.sh $(or $(SECONDS),30)
