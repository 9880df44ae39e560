# `make demo` shows what Sealane does; `make test` runs every test; `make check` what is held without running anything.
# Each says what it would install and asks; YES=1 does not ask, nor does a run without a terminal.

SHELL := /bin/bash
CARGO ?= cargo
# Tests make namespaces, links and programs: they need root.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH")

.PHONY: build demo test test-kernels check bench fmt lint clean

build:
	@scripts/install build
	$(CARGO) build --release --locked -p sealane -p cni

demo: build
	@scripts/install demo
	@$(ROOT) scripts/demo

test:
	@scripts/install build demo test
	$(CARGO) test --workspace --locked --no-run
	$(ROOT) $(CARGO) test --workspace --locked --no-fail-fast

test-kernels: build
	@$(ROOT) scripts/test-kernels

check:
	@scripts/install build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

bench: build
	@scripts/install bench
	$(CARGO) bench --locked -p sealane --bench measure --no-run
	$(CARGO) bench --locked -p api --bench directory --no-run
	@$(ROOT) scripts/bench

fmt:
	$(CARGO) fmt --all

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

clean:
	$(CARGO) clean
