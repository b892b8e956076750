# One word per task. Everything lives in ./venv; a stamp file makes the second call instant.
PYTHON ?= python3
BIN := venv/bin
# Python compiles what is imported; pip would compile three times as much for a minute.
INSTALL := $(BIN)/python -m pip install --no-compile
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# `make setup CPU=1` takes the CPU build of PyTorch from this index; docs/INSTALL.md names mirrors.
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
TORCH := $(if $(CPU),--no-deps --index-url $(TORCH_INDEX_URL))
# Without bytecode every process compiles the package anew, and pytest every test.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test fuzz check audit bench demo-model lock
help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: venv/.installed  ## create ./venv and install the server, exactly as locked (CPU=1: no CUDA)
venv/.installed: requirements.lock requirements-torch.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "asr-server needs Python 3.10 to 3.13: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv venv
	$(INSTALL) --no-deps -r requirements.lock
	$(INSTALL) $(TORCH) -r requirements-torch.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	$(BIN)/python -c 'import asr_server.app, asr_server.asr.run.backend'
	@touch $@
	@echo 'Installed. Next: make run, or $(BIN)/asr-server --help'

run: setup  ## start on port 8000 with the best model at hand
	$(BIN)/asr-server serve --model auto

venv/.installed-dev: venv/.installed requirements-dev.lock
	$(INSTALL) --no-deps -r requirements-dev.lock
	@touch $@

test: venv/.installed-dev  ## run the tests that need no GPU and no network, on all cores
	$(BIN)/python -m pytest

fuzz: venv/.installed-dev  ## attack decoders and the wire with 10 000 random inputs each (minutes)
	$(BIN)/python -m pytest tests/attack --hypothesis-profile fuzz --timeout 3600 -m 'not gpu and not hub'

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

demo-model: venv/.installed-dev  ## train the embedded demo model again (needs espeak-ng, over five hours)
	$(BIN)/python -m tools.demo_model build

build/audit/bin/pip-audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install -q pip-audit
audit: build/audit/bin/pip-audit  ## look for known vulnerabilities of the locked packages (needs a network)
	build/audit/bin/pip-audit --strict --disable-pip -r requirements.lock -r requirements-dev.lock
	build/audit/bin/pip-audit --strict --disable-pip --no-deps -r requirements-torch.lock

# Without torch and the CUDA libraries it brings: its files differ by index (CPU, CUDA), so pip, whose hashes are
# all or nothing, installs torch in a step of its own. A block of the lock is a line and its hashes.
LOCK = uv pip compile pyproject.toml --universal --python-version 3.10 --no-annotate --no-header --generate-hashes -q
TIDY = sed -e '/^nvidia-ml-py=/b' -e '/^\(nvidia-\|cuda-\|triton=\|torch=\)/,/[^\\]$$/d' \
	-e "/^[^ ].*sys_platform == 'emscripten'/,/[^\\\\]\$$/d" \
	-e "s/ ; sys_platform != 'emscripten' / /" -e "s/ and sys_platform != 'emscripten'//"
lock:  ## resolve pyproject.toml anew (needs uv)
	mkdir -p build
	$(LOCK) --extra dev --extra tools -o build/requirements-dev.lock > build/lock.log
	$(TIDY) build/requirements-dev.lock > requirements-dev.lock
	$(LOCK) --constraint build/requirements-dev.lock -o build/requirements.lock > build/lock.log
	$(TIDY) build/requirements.lock > requirements.lock
	sed -n 's/^\(torch==[^ ]*\) .*/\1/p' build/requirements.lock > requirements-torch.lock
	$(PYTHON) -m tools.licences
