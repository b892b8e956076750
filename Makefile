# One word per task. Everything lives in ./venv; a stamp file makes the second call instant.
PYTHON ?= python3
BIN := venv/bin
# Without bytecode every process compiles the package anew, and pytest every test.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test check bench demo-model lock
help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: venv/.installed  ## create ./venv and install the server, exactly as locked
venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "asr-server needs Python 3.10 to 3.13: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv venv
	$(BIN)/python -m pip install -q -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

run: setup  ## start on port 8000 with the best model at hand
	$(BIN)/asr-server serve --model auto

venv/.installed-dev: venv/.installed requirements-dev.lock
	$(BIN)/python -m pip install -q -r requirements-dev.lock
	@touch $@

test: venv/.installed-dev  ## run the tests that need no GPU and no network, on all cores
	$(BIN)/python -m pytest

check: venv/.installed-dev  ## lint, formatting, types, layers, documents, web clients, Dockerfile
	$(BIN)/python -m tools.check

bench: venv/.installed-dev  ## measure this machine against the peers: benchmarks/RESULTS.md (30 min, 5 GB)
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.peers prepare
	$(BIN)/python -m benchmarks.peers measure
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.event_loop measure
	$(BIN)/python -m benchmarks.report

demo-model: venv/.installed-dev  ## train the embedded demo model again (needs espeak-ng, over three hours)
	$(BIN)/python -m tools.demo_model build

# torch's own dependencies on CUDA libraries differ by build and are left to pip.
LOCK = uv pip compile pyproject.toml --universal --python-version 3.10 --no-annotate --no-header -q
TIDY = sed -e '/^nvidia-ml-py=/b' -e '/^\(nvidia-\|cuda-\|triton=\)/d' -e "/sys_platform == 'emscripten'/d" \
	-e "s/ ; sys_platform != 'emscripten'$$//" -e "s/ and sys_platform != 'emscripten'//"
lock:  ## resolve pyproject.toml anew (needs uv)
	mkdir -p build
	$(LOCK) --extra dev --extra tools -o build/requirements-dev.lock > build/lock.log
	$(TIDY) build/requirements-dev.lock > requirements-dev.lock
	$(LOCK) --constraint requirements-dev.lock -o build/requirements.lock > build/lock.log
	$(TIDY) build/requirements.lock > requirements.lock
