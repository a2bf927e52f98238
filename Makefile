# Two commands do all the set-up on a machine with Python 3.11+ and make:
#   make run     the whole service on this machine, with a demo project inside
#   make test    the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The installer has a place of its own: what it installs must not contain or remove it.
UV := $(VENV)/tools/bin/uv
# Bytecode is wanted: without it every process compiles torch and its friends anew.
unexport PYTHONDONTWRITEBYTECODE
# Two test processes on two cores: threads beyond that only get in each other's way.
TEST_ENV := OMP_NUM_THREADS=1 PYTHONHASHSEED=0

.PHONY: setup run test check fuzz format migration lock clean

setup: $(VENV)/.done

$(VENV)/.done: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(UV) || { $(PYTHON) -m venv $(VENV)/tools && $(VENV)/tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'; }
	test -x $(BIN)/python || $(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

run: setup
	$(BIN)/nextslice up $(ARGS)

test: setup
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_migrations.py

# The OpenAPI document against the running service, at length and on both engines
fuzz: setup
	$(TEST_ENV) NEXTSLICE_FUZZ_EXAMPLES=$(or $(EXAMPLES),100) $(BIN)/pytest -q tests/api/test_contract.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# make migration MESSAGE="what changes": writes the next migration from the models
migration: setup
	NEXTSLICE_HOME=$$(mktemp -d) && export NEXTSLICE_HOME && $(BIN)/nextslice migrate && \
	$(BIN)/alembic revision --autogenerate -m "$(MESSAGE)"

# make lock: pins with hashes, and no address of any registry; the images install subsets of the one resolution
PINS := --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url --generate-hashes
lock: setup
	$(UV) pip compile $(PINS) --all-extras --group dev pyproject.toml -o requirements.lock
	$(UV) pip compile $(PINS) --extra scale --extra oidc -c requirements.lock pyproject.toml -o requirements.api.lock
	$(UV) pip compile $(PINS) --extra scale --extra train --extra dicom -c requirements.lock pyproject.toml -o requirements.worker.lock
	echo 'hatchling>=1.27' | $(UV) pip compile $(PINS) -c requirements.lock - -o requirements.build.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
