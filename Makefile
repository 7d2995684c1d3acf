# `make demo`: the main job on real LIDC annotations. `make test`: the tests of every change; `make test-all`: all tests.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
# visdom is an sdist that needs setuptools<81 while it builds; newer pips read the second variable for that.
PIP_ENV = PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints.txt

.PHONY: install demo test test-slow test-all lint docs-reference clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_ENV) $(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,medical,export]'
	touch $@

# One thread: on two cores nearly as fast as two for networks this small. If the second core is busy, two threads that
# wait for each other at every layer come to a near stop. More cores: make demo THREADS=4.
THREADS ?= 1

demo: install
	OMP_NUM_THREADS=$(THREADS) $(PY) run_search.py experiment=demo
	OMP_NUM_THREADS=$(THREADS) $(PY) run_train.py experiment=demo arch=outputs/demo/arch.json

# Each prints its fifty slowest tests.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest --durations=50

test: install
	$(PYTEST) -n 2 -m "not slow and not faults"

# The tests of faults mostly wait, as those of services and launchers do: four at a time keep two cores at work.
test-slow: install
	$(PYTEST) -n 4 -m "slow or faults"

test-all: test test-slow

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(PY) -m mypy

# The pages of docs/reference that are made of conf/ and the docstrings.
docs-reference: install
	$(PY) -m docs.generate

clean:
	rm -rf $(VENV) build dist *.egg-info
