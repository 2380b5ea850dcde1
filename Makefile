# `make demo` and `make test` need Python 3.11 or newer with venv, and nothing done before.
PYTHON ?= python3
BIN := .venv/bin

# tests start many processes: without byte code each of them compiles all that it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test unit coverage lint bench browser-tools console-pictures vendor lock clean

demo: .venv/ready
	$(BIN)/imageflow demo

test: .venv/ready
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(PART)

# schemathesis' plugin takes two seconds to import in each process, and no unit test uses it
UNIT := -m pytest tests/unit -p no:schemathesis --numprocesses 2 --dist worksteal
unit: .venv/ready
	$(BIN)/python $(UNIT) -m "not slow" --hypothesis-profile few

coverage: .venv/ready
	$(BIN)/python $(UNIT) --cov --cov-report=
	$(BIN)/python -m tests.pure_modules

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m tests.benchmarks.writer --peers
	$(BIN)/python -m tests.benchmarks.whole --peers

.venv/ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

# what the browser tests need, beside a Chromium (Debian: apt-get install chromium)
browser-tools: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-browser.lock

# pictures of every page of the console, in FOLDER
FOLDER ?= console-pictures
console-pictures: browser-tools
	$(BIN)/python -m tests.browser.pictures $(FOLDER)

# the scripts that the console vendors, as imageflow/console/vendor/package-lock.json has them: needs npm
vendor:
	cd imageflow/console/vendor && npm ci --ignore-scripts --no-audit --no-fund && npm run build

# after changing dependencies in pyproject.toml: needs `uv`
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet
lock:
	$(LOCK) --output-file requirements.lock
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock
	$(LOCK) --group browser --constraint requirements-dev.lock --output-file requirements-browser.lock

clean:
	rm -rf .venv imageflow-data
