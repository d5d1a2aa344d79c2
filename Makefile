# TinyInc's one entry point. Every target sets up what it needs, from a fresh clone; `make` alone
# says what there is.

PYTHON ?= python3
DATA ?= digits
SECONDS ?= 600
ARCH ?= x64
BOARD ?= RPI_PICO
ARCHS := x64 armv6m armv7m armv7emsp armv7emdp rv32imc xtensawin
QEMU_BOARDS := MPS2_AN385 MPS2_AN386 MPS2_AN500 MPS2_AN505 VIRT_RV32
# MPY_RELEASE chooses another release of MicroPython than the usual one.
STOCK := $(CURDIR)/build/unix-stock$(addprefix -,$(MPY_RELEASE))
VENV := build/venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SANITIZED := build/sanitize/.ready
# The CPU build alone: the plain one brings several GB of GPU libraries.
TORCH ?= torch==2.13.0+cpu

CORE := $(wildcard usermod_c/core/*.[ch])
C_FILES := $(CORE) $(wildcard usermod_c/binding/*.[ch] usermod_c/natmod/*.c usermod_c/natmod/*/*.c \
    boards/emulators/*.[ch] boards/emulators/bootrom/*.c boards/qemu/*.c boards/qemu/*/*.c \
    boards/RPI_PICO*/*.h boards/ESP32*/*.h tests/boards/*.c tests/boards/*/*.c tests/faults/fuzz/*.c)
PACKAGE := host_tools/pyproject.toml host_tools/setup.py host_tools/_tinyinc/build.py

ifneq ($(words $(CURDIR)),1)
$(error make cannot work in a folder with a space in its path: $(CURDIR))
endif
# A virtual environment holds absolute paths: in a copied tree it is set up again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(shell rm -rf $(READY) $(SANITIZED))
endif

.PHONY: help
help:
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: setup demo test bench bench-engine bench-accuracy bench-learning bench-boards bench-front \
    bench-report lint format unix sanitize test-faults long-run fuzz unix-stock natmod natmod-all release qemu \
    firmware test-boards clean

setup: $(READY) unix ## Set up all that the others need: Python packages, MicroPython, unix port

demo: setup ## Learn two new classes on the unix port, with a picture (DATA=digits or mnist)
	$(BIN)/tinyinc demo --data $(DATA)

test: lint setup ## Check everything: lint, then all tests with pytest
	$(BIN)/python -m pytest

bench: setup ## Measure speed and accuracy: build/bench/host.json
	@test -e $(VENV)/.torch || \
	    { $(BIN)/pip install -qq --retries 1 '$(TORCH)' 2>/dev/null && touch $(VENV)/.torch; } || \
	    echo 'pip finds no $(TORCH) here: measuring without PyTorch (give another as TORCH=...)'
	$(BIN)/python -m tinyinc_host.bench

bench-engine: $(READY) ## Count the engine's work on emulated microcontrollers: build/bench/engine.json
	@$(BIN)/python -m tinyinc_host.bench_engine

bench-accuracy: $(READY) ## Measure q8 and the rules on real data in TINYINC_DATA: build/bench/accuracy.json
	@$(BIN)/python -m tinyinc_host.bench_accuracy

# ONLY=mnist,b,tinyinc: of these datasets, protocols and methods.
bench-learning: $(READY) ## Compare learners that must not forget, on TINYINC_DATA: build/bench/learning
	@$(BIN)/python -m tinyinc_host.learning --only '$(ONLY)'

bench-front: $(READY) ## Measure what a front end from other data is good for: build/bench/front.json
	@$(BIN)/python -m tinyinc_host.bench_front

bench-report: $(READY) ## Print all that was measured as one table
	@$(BIN)/tinyinc bench-report

lint: $(READY) ## Check the style of Python and C
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	gcc -fsyntax-only -std=c99 -ffreestanding -Wall -Wextra -Wdouble-promotion -Wconversion -Werror \
	    $(filter %.c,$(CORE))

format: $(READY) ## Format Python and C
	$(BIN)/ruff check --quiet --select I --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_FILES)

unix: ## Build MicroPython's unix port with the engine: build/unix/micropython
	@tree=$$($(PYTHON) boards/micropython.py) && \
	    $(MAKE) --no-print-directory -C boards/unix MPY_DIR=$$tree

unix-stock: ## Build the same without the engine, for the native module: build/unix-stock
	@tree=$$($(PYTHON) boards/micropython.py) && \
	    $(MAKE) --no-print-directory -C boards/unix MPY_DIR=$$tree BUILD=$(STOCK) USER_C_MODULES=

natmod: $(READY) ## Build the engine for stock firmware: build/natmod/_tinyinc-ARCH.mpy (ARCH=x64)
	@tree=$$($(PYTHON) boards/micropython.py) && \
	    $(MAKE) --no-print-directory -C usermod_c/natmod MPY_DIR=$$tree ARCH=$(ARCH) \
	    PYTHON=$(CURDIR)/$(BIN)/python

release: natmod-all ## Folders for `mpremote mip install`: build/release
	@$(BIN)/python -m tinyinc_host.release

natmod-all: $(READY) ## Build it for all architectures
	@status=0; for arch in $(ARCHS); do \
	    $(MAKE) --no-print-directory natmod ARCH=$$arch || status=2; done; exit $$status

qemu: ## Build MicroPython for emulated boards: build/qemu
	@tree=$$($(PYTHON) boards/micropython.py) && for board in $(QEMU_BOARDS); do \
	    $(MAKE) --no-print-directory -C boards/qemu MPY_DIR=$$tree BOARD=$$board || exit 2; done

firmware: ## Build MicroPython's firmware with the engine in it: build/firmware (BOARD=RPI_PICO)
	@$(MAKE) --no-print-directory -C boards needs BOARD=$(BOARD) && \
	    tree=$$($(PYTHON) boards/libraries.py $(BOARD)) && \
	    $(MAKE) --no-print-directory -C boards MPY_DIR=$$tree BOARD=$(BOARD)

test-boards: setup natmod qemu firmware ## Test on emulated boards: firmware, native modules, kernels
	@MPY_RELEASE=1.26 $(MAKE) --no-print-directory unix-stock
	@$(MAKE) --no-print-directory firmware STOCK=1
	@$(MAKE) --no-print-directory natmod ARCH=armv6m
	$(BIN)/python -m pytest tests/boards

bench-boards: $(READY) firmware ## Time learn() on an emulated Pico: build/bench/boards.json
	@$(MAKE) --no-print-directory firmware STOCK=1
	@$(MAKE) --no-print-directory natmod ARCH=armv6m
	@$(BIN)/python -m tinyinc_host.bench_boards

# Python's own allocator would hide writes just outside a buffer.
sanitize: $(SANITIZED) ## Test the core built with AddressSanitizer and UndefinedBehaviorSanitizer
	LD_PRELOAD='$(shell gcc -print-file-name=libasan.so) $(shell gcc -print-file-name=libstdc++.so.6)' \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	    PYTHONPATH=build/sanitize $(BIN)/python -m pytest tests/core --engine c

test-faults: setup ## Test only what happens when things go wrong (part of `make test`)
	$(BIN)/python -m pytest tests/faults

long-run: setup ## Learn a million samples, three times; out of memory with the pure engine, too
	LONG_RUN_STEPS=1000000 MEMORY_FAULTS=all $(BIN)/python -m pytest \
	    tests/faults/test_long_runs.py tests/faults/test_memory_faults.py

fuzz: $(READY) ## Fuzz the core with hostile images (SECONDS=600)
	$(BIN)/python tests/faults/fuzz/fuzz.py $(SECONDS)

clean: ## Remove everything that was built or fetched
	rm -rf build host_tools/build host_tools/*.egg-info host_tools/*.so
	rm -rf .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): $(PACKAGE) $(CORE)
	@missing=; \
	command -v gcc > /dev/null || missing="$$missing gcc"; \
	$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || missing="$$missing python3-venv"; \
	$(PYTHON) -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' \
	    2> /dev/null || missing="$$missing python3-dev"; \
	test -z "$$missing" || \
	    { echo "Not installed:$$missing. On Debian: sudo apt-get install$$missing" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo 'Python 3.10 or newer is needed: give one as PYTHON=...' >&2; exit 2; }
	@test -e $@ || echo 'Setting up Python packages in $(VENV) (about a minute) ...'
	@test -e $@ || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq 'setuptools>=77' 'cffi>=1.16'
	@TINYINC_CFLAGS=-march=native $(BIN)/pip install -qq --no-build-isolation \
	    -e './host_tools[natmod,test]'
	@echo $(CURDIR) > $@

$(SANITIZED): $(READY) $(CORE)
	@mkdir -p $(@D)
	@cd host_tools && TINYINC_SANITIZE=1 ../$(BIN)/python setup.py -q build_ext --force \
	    --build-lib ../build/sanitize --build-temp ../build/sanitize/objects
	@touch $@
