# Every target does the set-up that it needs; stamp files keep it from being done twice.
# Needs: cargo and rustc, a C linker, make, and Python 3.10 or newer (make PYTHON=python3.13 ...).

PYTHON ?= python3.11

VENV := .venv
RIVAL := .venv-rival
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
FLOOR := target/floor/release/floor
FLOOR_CRATE := --manifest-path benches/floor/Cargo.toml
RUST_BENCH := target/rust-bench/release/rust-bench
RUST_BENCH_CRATE := --manifest-path benches/rust/Cargo.toml
PIP_FLAGS := --quiet --disable-pip-version-check --progress-bar off

# The real RPyC: interoperability is tested against it, speed is measured beside it. It needs plumbum to import its CLI.
RIVAL_PACKAGES := rpyc==6.0.2 plumbum==2.0.2

# Most of a test's time is waiting for processes to start: more tests than cores run side by side.
PYTEST := pytest -q -n 3

# What is random in the tests starts from here.
SEED ?= 1
SECONDS ?= 1200
# The models are built with locks of their own, so apart from everything else.
MODELS := RUSTFLAGS='--cfg loom' cargo test --profile models -p rpyc --test models --target-dir target/loom

# What touches memory in every way that the extension does.
ASAN_TESTS := $(addprefix tests/python/test_, $(addsuffix .py, async batch brine connection exceptions faults fuzz \
	handlers hostile_limits memory methods netref read_ahead refcount threads vectors_session))
CHECKS := brine deframer session exceptions dispatch
FUZZ_SECONDS ?= 60
# What Rust's sanitizers are built for.
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_TARGETS := target/fuzz/.built
# Coverage as libFuzzer reads it, and memory errors.
FUZZ_FLAGS := --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Zsanitizer=address -Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares

# Folders count as sources too: their time changes when a file in them is added or removed.
SOURCES := $(shell find crates python -not -name __pycache__ -not -name '*.pyc') \
	$(wildcard Cargo.toml Cargo.lock pyproject.toml README.md)

TOOLS_STAMP := $(VENV)/.tools
RIVAL_STAMP := $(RIVAL)/.ready
WHEEL_STAMP := dist/.built
INSTALLED_STAMP := $(VENV)/.installed
BENCH_STAMP := $(BENCH_VENV)/.ready

DENY_VERSION := 0.20.2
PUBLIC_API_VERSION := 0.52.0
TOOLS_BIN := $(CURDIR)/target/tools/bin
DENY_CHECK := cargo deny --log-level error check bans licenses sources

# What the native path and the Python path must agree on.
PYTHON_PATH_TESTS := $(addprefix tests/python/test_, $(addsuffix .py, async attr_access batch buffers connection connection_tables \
	exceptions extension_points extensions faults handlers hostile_limits hostile_peers policy_matrix netref own_streams \
	read_ahead refcount threads vectors_session))

# Builds target/debug/rpyc, too, which the interoperability tests start. Delays between threads are built in, and off
# unless RPYC_CHAOS is set.
RUST_TESTS := cargo test --workspace --exclude rpyc-python --features rpyc/tokio,rpyc/tls,rpyc/chaos

SHELL := /bin/sh
.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv rival build demo lint deny public-api test-rust test-python test-versions test counts counts-update bench bench-quick bench-publish wheel wheel-check clean loom fuzz stress soak asan

# Long, and about the engine and the rules, which no version of Python changes: run with one version only.
ANY_VERSION := $(addprefix tests/python/test_, $(addsuffix .py, fault_matrix heartbeat hostile_limits parity policy_matrix ssh stress))

# The versions of Python that the package supports; those found are tested.
VERSIONS := 3.10 3.11 3.12 3.13

# Another package must not slip in before the ones installed here.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV RPYC_BIND_THREADS
export RPYC_RIVAL_PYTHON := $(CURDIR)/$(RIVAL)/bin/python
# Every crate that binds to Python binds to the same one.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(INSTALLED_STAMP) ## .venv with the tools and this package

rival: $(RIVAL_STAMP) ## .venv-rival with RPyC 6.0.2, and two older ones, to test and to measure against

build: $(INSTALLED_STAMP) ## the extension, in release mode, installed into .venv

demo: $(INSTALLED_STAMP) ## a tour: a server process and a client that drives it
	@$(BIN)/python examples/python/demo.py

test: lint test-rust test-python test-versions counts wheel-check ## everything: lints, Rust, Python and its other versions, wheel
	@echo "make test: all passed"

lint: $(INSTALLED_STAMP) ## formatting, clippy, rustdoc, mypy, stubtest, ruff
	@if cargo fmt --version >/dev/null 2>&1; then \
		cargo fmt --all --check; cargo fmt $(FLOOR_CRATE) --check; cargo fmt $(RUST_BENCH_CRATE) --check; \
	else echo "lint: cargo fmt is not installed, formatting not checked"; fi
	@if cargo clippy --version >/dev/null 2>&1; then \
		cargo clippy --workspace --all-targets --features rpyc/tokio,rpyc/tls -- -D warnings; \
		cargo clippy $(FLOOR_CRATE) --target-dir target/floor -- -D warnings; \
		cargo clippy $(RUST_BENCH_CRATE) --target-dir target/rust-bench -- -D warnings; \
	else echo "lint: cargo clippy is not installed, Rust lints not checked"; fi
	RUSTDOCFLAGS="-D warnings" cargo doc -q --no-deps -p rpyc -p rpyc-macros -p rpyc-proto --features rpyc/tokio,rpyc/tls
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest rpyc._rpyc --allowlist tests/stubtest-allowlist.txt
	$(BIN)/ruff check .
	@if command -v cargo-deny >/dev/null 2>&1; then $(DENY_CHECK); \
	else echo "lint: cargo-deny is not installed, licences and sources not checked (make deny installs it)"; fi

# A tool of 400 crates, two minutes to build: so it is not a part of `make lint` where it is not there already.
deny: ## licences, sources and duplicates of the dependencies (deny.toml); builds cargo-deny first
	@command -v cargo-deny >/dev/null 2>&1 || [ -x $(TOOLS_BIN)/cargo-deny ] || \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_TARGET_DIR=target/tools/build \
		cargo install --quiet --locked cargo-deny@$(DENY_VERSION) --root target/tools
	PATH=$(TOOLS_BIN):$$PATH $(DENY_CHECK)

public-api: ## the public API of the crate rpyc into crates/rpyc/public-api.txt; builds cargo-public-api first, needs nightly
	@command -v cargo-public-api >/dev/null 2>&1 || [ -x $(TOOLS_BIN)/cargo-public-api ] || \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_TARGET_DIR=target/tools/build \
		cargo install --quiet --locked cargo-public-api@$(PUBLIC_API_VERSION) --root target/tools
	PATH=$(TOOLS_BIN):$$PATH cargo public-api -p rpyc --features tokio,tls -sss > crates/rpyc/public-api.txt

# The extension is tested through Python: as a test binary of its own it would need a libpython to link with, which many
# machines lack.
test-rust: $(TOOLS_STAMP) ## the Rust tests, the engine's once more with delays, and models of it under loom
	$(RUST_TESTS)
	RPYC_CHAOS=$(SEED):300 $(RUST_TESTS) --test link --test roles --test stalls --test ends
	$(MODELS)

fuzz: $(FUZZ_TARGETS) ## libFuzzer on each check of fuzz/, FUZZ_SECONDS=60 each; needs the nightly toolchain
	cargo run -q -p rpyc-fuzz --bin seeds -- target/fuzz/corpus
	@for check in $(CHECKS); do \
		mkdir -p target/fuzz/learnt/$$check; \
		target/fuzz/$(TARGET)/release/$$check -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=20 \
			-artifact_prefix=target/fuzz/found-$$check- \
			target/fuzz/learnt/$$check target/fuzz/corpus/$$check; \
	done

# A million proxies are about memory: with a delay at each hand-over they would take more than a quarter of an hour.
MILLION := tests/python/test_references.py::test_proxies_leave_nothing_behind
stress: build/chaos/.built ## 64 threads x 2,000 calls with delays at each hand-over (SEED=1), and references by the million
	RPYC_STRESS=1 RPYC_CHAOS=$(SEED):200 PYTHONPATH=build/chaos $(BIN)/pytest -q -s tests/python/test_stress.py tests/python/test_references.py \
		--deselect $(MILLION)
	RPYC_STRESS=1 PYTHONPATH=build/chaos $(BIN)/pytest -q $(MILLION)

soak: $(INSTALLED_STAMP) $(RIVAL_STAMP) ## mixed load with faults beside RPyC 6.0.2, SECONDS=1200; fails if something leaks or is lost
	@$(BIN)/python tests/soak/run.py $(SECONDS) $(SEED)

# Python's own allocator would hide what happens to its objects. Its leaks at exit are not ours. Frames of the stack are
# several times as large as usual; memory that was freed is kept for less long than usual, because some tests measure it.
ASAN_OPTIONS := detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=8
asan: build/asan/.built ## the tests of the extension under AddressSanitizer; needs the nightly toolchain and gcc's libasan
	ulimit -s 65536; LD_PRELOAD=$$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=$(ASAN_OPTIONS) PYTHONMALLOC=malloc \
		PYTHONPATH=build/asan $(BIN)/$(PYTEST) --timeout 300 $(ASAN_TESTS)

loom: ## the models once more, with more of the orders in which threads can go on; some minutes
	LOOM_MAX_PREEMPTIONS=3 $(MODELS)

test-python: $(INSTALLED_STAMP) $(RIVAL_STAMP) ## the Python tests and the interoperability tests
	$(call need_sshd)
	$(RUST_TESTS) --quiet --no-run
	$(BIN)/$(PYTEST) tests/python tests/interop
	@echo "once more, with every connection on the Python path"
	RPYC_TEST_PYTHON_PATH=1 $(BIN)/$(PYTEST) $(PYTHON_PATH_TESTS)

counts: $(INSTALLED_STAMP) ## instructions and system calls of a call, compared with benches/counts.toml
	$(call need_counters)
	@$(BIN)/python benches/counts.py

counts-update: $(INSTALLED_STAMP) ## record them anew: make counts-update REASON="..."
	$(call need_counters)
	@$(BIN)/python benches/counts.py --update "$(REASON)"

# The extension is built for each version, and the Python tests run with it.
test-versions: $(TOOLS_STAMP) $(RIVAL_STAMP) ## the Python tests with the other supported versions of Python
	@tested=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(VERSIONS); do \
		folder=build/py$$version; \
		if [ $$version = $$tested ]; then continue; fi; \
		for python in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python none; do \
			if $$python -c 'import venv, ensurepip' >/dev/null 2>&1; then break; fi; \
		done; \
		if [ $$python = none ]; then \
			echo "test-versions: no usable python$$version here, not tested"; continue; \
		fi; \
		echo "test-versions: $$python"; \
		[ -e $$folder/.tools ] || { \
			rm -rf $$folder; $$python -m venv $$folder; \
			$$folder/bin/python -m pip install $(PIP_FLAGS) -r requirements-test.txt; touch $$folder/.tools; }; \
		rm -rf $$folder/dist; \
		PYO3_PYTHON=$$PWD/$$folder/bin/python $(BIN)/maturin build --quiet --profile versions --target-dir target/versions \
			--interpreter $$folder/bin/python --out $$folder/dist; \
		$$folder/bin/python -m pip install $(PIP_FLAGS) --force-reinstall --no-deps $$folder/dist/*.whl; \
		$$folder/bin/$(PYTEST) tests/python $(addprefix --ignore=,$(ANY_VERSION)); \
	done

bench: $(INSTALLED_STAMP) $(BENCH_STAMP) $(FLOOR) $(RUST_BENCH) ## beside RPyC 6.0.2, others and raw sockets, about 25 minutes; bench-results/
	$(call need_counters)
	-@$(BIN)/python benches/counts.py >/dev/null # its report becomes a part of the one that follows
	@$(BIN)/python benches/run.py

bench-quick: $(INSTALLED_STAMP) $(BENCH_STAMP) $(FLOOR) $(RUST_BENCH) ## one round of it in under 2 minutes: a look, not a result
	@$(BIN)/python benches/run.py --quick

bench-publish: $(TOOLS_STAMP) ## the results of make bench into README.md and docs/, chart included
	@$(BIN)/python benches/publish.py

wheel: $(WHEEL_STAMP) ## dist/*.whl
	@ls dist/*.whl

wheel-check: $(WHEEL_STAMP) ## the wheel works in an empty virtual environment, with nothing else
	@echo "wheel-check: installing dist/*.whl into an empty environment"
	$(call new_venv,build/wheel-check)
	@build/wheel-check/bin/python -m pip install $(PIP_FLAGS) --no-index dist/*.whl
	@build/wheel-check/bin/python examples/python/demo.py
	@build/wheel-check/bin/rpyc_classic --help >/dev/null
	@build/wheel-check/bin/rpyc_registry --help >/dev/null

clean: ## remove everything that the other targets made
	rm -rf target dist build bench-results $(VENV) $(RIVAL) $(RIVAL)-5 $(RIVAL)-4 $(BENCH_VENV) .pytest_cache .mypy_cache .ruff_cache
	find benches crates examples python tests -name __pycache__ -prune -exec rm -rf {} +

$(TOOLS_STAMP): requirements-dev.txt requirements-test.txt
	$(call new_venv,$(VENV))
	@echo "installing the tools of requirements-dev.txt into $(VENV)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -r requirements-dev.txt
	@touch $@

$(RIVAL_STAMP): Makefile
	$(call new_venv,$(RIVAL))
	@echo "installing $(RIVAL_PACKAGES) into $(RIVAL)"
	@$(RIVAL)/bin/python -m pip install $(PIP_FLAGS) $(RIVAL_PACKAGES)
	$(call new_venv,$(RIVAL)-5)
	$(call new_venv,$(RIVAL)-4)
	@echo "installing RPyC 5.3.1 and 4.1.5, which speak an older dialect, beside it"
	@$(RIVAL)-5/bin/python -m pip install $(PIP_FLAGS) rpyc==5.3.1
	@$(RIVAL)-4/bin/python -m pip install $(PIP_FLAGS) rpyc==4.1.5
	@touch $@

$(BENCH_STAMP): benches/requirements.txt
	$(call new_venv,$(BENCH_VENV))
	@echo "installing what is measured beside this package into $(BENCH_VENV)"
	@$(BENCH_VENV)/bin/python -m pip install $(PIP_FLAGS) -r benches/requirements.txt
	@touch $@

# One release build serves tests, benchmarks and distribution: what is tested is what is shipped.
$(WHEEL_STAMP): $(TOOLS_STAMP) $(SOURCES)
	@command -v cargo >/dev/null || { echo "make: cargo is missing; install Rust (https://rustup.rs)" >&2; exit 1; }
	@rm -rf dist
	$(BIN)/maturin build --release --interpreter $(BIN)/python --out dist
	@touch $@

$(INSTALLED_STAMP): $(WHEEL_STAMP)
	@$(BIN)/python -m pip install $(PIP_FLAGS) --force-reinstall --no-deps dist/*.whl
	@touch $@

build/asan/.built: $(INSTALLED_STAMP)
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true RUSTFLAGS='-Zsanitizer=address' \
		cargo +nightly build --release -p rpyc-python --features extension-module \
		--target $(TARGET) --target-dir target/asan
	$(call new_copy,build/asan,target/asan/$(TARGET)/release)
	@touch $@

build/chaos/.built: $(INSTALLED_STAMP)
	CARGO_PROFILE_RELEASE_LTO=off cargo build --release -p rpyc-python --features extension-module,chaos --target-dir target/chaos
	$(call new_copy,build/chaos,target/chaos/release)
	@touch $@

$(FUZZ_TARGETS): $(shell find fuzz crates/rpyc-proto -name '*.rs' -o -name Cargo.toml)
	@cargo +nightly --version >/dev/null 2>&1 || { \
		echo "make fuzz: needs the nightly toolchain (rustup toolchain install nightly)" >&2; exit 1; }
	CARGO_PROFILE_RELEASE_LTO=off RUSTFLAGS='$(FUZZ_FLAGS)' cargo +nightly build --release -p rpyc-fuzz \
		--features libfuzzer --target $(TARGET) --target-dir target/fuzz
	@touch $@

$(FLOOR): $(wildcard benches/floor/Cargo.* benches/floor/src/*.rs)
	cargo build --release $(FLOOR_CRATE) --target-dir target/floor
	@touch $@

$(RUST_BENCH): $(wildcard benches/rust/Cargo.* benches/rust/src/*.rs) $(SOURCES)
	cargo build --release $(RUST_BENCH_CRATE) --target-dir target/rust-bench
	@touch $@

# The tests of SSH start a server of their own, and are skipped where there is none. It is only installed where the
# package's installation starts no service.
define need_sshd
@if ! [ -x /usr/sbin/sshd ] && ! command -v sshd >/dev/null; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! [ -d /run/systemd/system ]; then \
		echo "installing openssh-server with apt-get"; \
		export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		{ timeout 120 apt-get -qq update && \
			timeout 300 apt-get -qq install -y --no-install-recommends openssh-server >/dev/null; } || \
			echo "apt-get could not install openssh-server: the tests of SSH are skipped" >&2; \
	else \
		echo "no sshd here: the tests of SSH are skipped (Debian: apt-get install openssh-server)" >&2; \
	fi; \
fi
endef

# What counts instructions and system calls. Without them the counts are left out, and say so.
define need_counters
@if ! { command -v valgrind && command -v strace; } >/dev/null; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing valgrind and strace with apt-get"; \
		export DEBIAN_FRONTEND=noninteractive; \
		{ timeout 120 apt-get -qq update && \
			timeout 300 apt-get -qq install -y --no-install-recommends valgrind strace >/dev/null; } || \
			echo "apt-get could not install valgrind and strace" >&2; \
	else \
		echo "no valgrind and strace here: calls are not counted (Debian: apt-get install valgrind strace)" >&2; \
	fi; \
fi
endef

# A copy of the package in folder $(1), with the extension from folder $(2): for builds that are not the shipped one.
define new_copy
@rm -rf $(1); mkdir -p $(1); cp -r python/rpyc $(1)/rpyc; rm -f $(1)/rpyc/_rpyc*.so; cp $(2)/lib_rpyc.so $(1)/rpyc/_rpyc.so
endef

# A fresh virtual environment in folder $(1). Debian keeps ensurepip in a package of its own (pythonX.Y-venv): root
# installs it; anyone else who has pip gets virtualenv, in build/ only.
define new_venv
@rm -rf $(1); \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	echo "make: $(PYTHON) is missing or older than 3.10; name another: make PYTHON=python3.12" >&2; exit 1; }; \
ensurepip() { $(PYTHON) -m ensurepip --version >/dev/null 2>&1; }; \
package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
if ! ensurepip && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "installing $$package with apt-get"; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ timeout 120 apt-get -qq update && timeout 300 apt-get -qq install -y "$$package" >/dev/null; } || \
		echo "apt-get could not install $$package, trying without" >&2; \
fi; \
if ensurepip; then \
	$(PYTHON) -m venv $(1); \
elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	$(PYTHON) -m pip install $(PIP_FLAGS) --target build/virtualenv --upgrade virtualenv; \
	PYTHONPATH=build/virtualenv $(PYTHON) -m virtualenv --quiet $(1); \
else \
	echo "make: $(PYTHON) has neither ensurepip nor pip, so it cannot make a virtual environment;" \
		"install one of them (Debian: apt-get install $$package) and run make again" >&2; \
	exit 1; \
fi
endef
