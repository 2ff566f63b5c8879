# The commands people and CI type. Each brings .venv up to date first and shows its progress.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Many tests wait for processes of the farm: three at once keep two cores busy.
WORKERS ?= 3
OTHER_CLIENT := .venv/clients/pixelapi-0.2.0
NODE_CLIENT := .venv/clients/node-openai
# More words for `farm demo` and `farm up`: make up ARGS="--port 9000 --data /srv/farm"
ARGS ?=

.PHONY: demo up test check format bench faults clean

demo: .venv/worker.stamp
	$(BIN)/farm demo --out demo $(ARGS)

up: .venv/worker.stamp
	$(BIN)/farm up $(ARGS)

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev.stamp
	$(BIN)/python -m tests.bench

# Kills, floods and unplugs a farm for about half an hour; `make test` has the short version.
faults: .venv/dev.stamp
	$(BIN)/python -m tests.faults

clean:
	rm -rf .venv demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: say make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

# A stamp is older than what it was made from exactly when the installation is out of date.
.venv/worker.stamp: .venv/bin/python setup.cfg deploy/constraints.txt
	@echo "Installing the farm and its engines (about two minutes the first time)"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c deploy/constraints.txt -e '.[worker]'
# Its own pins are of another torch; what it needs is in the extra.
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps audiocraft==1.3.0
	@touch $@

.venv/dev.stamp: .venv/worker.stamp
	@echo "Installing what the tests and checks need"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c deploy/constraints.txt -e '.[worker,dev]'
# A second version of one published client, where it does not replace the first.
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps --upgrade --target $(OTHER_CLIENT) pixelapi==0.2.0
# What Node's customers use; its tests are skipped where there is no npm, but not in CI.
	@if command -v npm > /dev/null; then npm install --prefix $(NODE_CLIENT) --no-save --no-audit --no-fund --ignore-scripts openai@7.57.0 || echo "npm could not install openai: its tests will be skipped"; \
	else echo "npm is not installed: the tests of Node's openai client will be skipped"; fi
	@touch $@
