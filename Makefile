# `make demo` to see it, `make check` while you work, `make test` to trust it. They need Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
# Two test processes on two cores are faster than two threads in one; -n auto follows the machine.
WORKERS ?= auto
# Where a process of tests dies, the run ends and names its test: started anew by xdist, a run may never end.
PYTEST  = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0

# What `make check` leaves to `make test`: whole jobs, training, the command line on models, and models of some size.
LONG := $(foreach name,benchmarks base_install cache_faults canonical cli_jobs cli_measure codec_parity compose_jobs \
	contract_audio demo export generation_auto generation_stream \
	gpu jobs multimodal_golden seed training vocab_shards weights,--ignore-glob='tests/test_$(name)*.py')

.PHONY: check test day lowest demo docs clean

# The inner loop: rules, types, documents, the contract on the small models, and one item of each parametrised law.
check: export OMP_NUM_THREADS = 1
check: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) --one-of-each $(LONG)

# All of it. With ANYTOK_KERNELS=avx2, say, or portable, as on a CPU with that build of the kernels, or with none.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST)

# A user's whole day, command by command, on a wheel that is built and installed for it. CI runs it after the tests.
day: $(VENV)/test.done
	$(BIN)/python tests/day_in_the_life.py

# The same tests with the oldest packages that pyproject.toml allows, in an environment of their own.
lowest: export OMP_NUM_THREADS = 1
lowest: BIN = $(VENV)-lowest/bin
lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip install -q --python $(VENV)-lowest --resolution lowest-direct -e '.[test]'
	$(PYTEST)

demo: $(VENV)/demo.done
	$(BIN)/anytok demo

# Rewrites what is generated: checkpoints.md and the README's tables. A test compares them with their sources.
docs: $(VENV)/test.done
	$(BIN)/python benchmarks/report.py

clean:
	rm -rf $(VENV) $(VENV)-lowest demo-out

$(VENV)/demo.done: pyproject.toml constraints.txt hatch_build.py $(wildcard anytok/kernels/csrc/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "anytok needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing anytok into $(VENV) (torch is large: minutes on a first run)"
	$(PIP) -e .
	touch $@

$(VENV)/test.done: $(VENV)/demo.done
	@echo "installing the test extra into $(VENV)"
	$(PIP) -e '.[test]'
	@echo "the readers of two outputs, where they have wheels; their tests are skipped without them"
	-$(PIP) --no-deps --only-binary :all: litdata megatron-core
	touch $@
