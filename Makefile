# `make demo`: the main job on real LIDC annotations. `make test`: the tests of every change; `make test-all`: all tests.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
# visdom is an sdist that needs setuptools<81 while it builds; newer pips read the second variable for that.
PIP_ENV = PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints.txt

.PHONY: install demo test test-slow test-all test-oldest lint docs docs-reference dist clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_ENV) $(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,medical,export,docs]'
	touch $@

# Two processes share the trainings of each command; which networks are tried depends on which of them is first. One
# thread each: threads that wait for each other at every layer of networks this small gain little. More cores: make demo
# PROCESSES=0,1,2,3. The same without processes: voxnas search experiment=demo, then voxnas train experiment=demo
# arch=outputs/demo/arch.json.
PROCESSES ?= 0,1
comma := ,
COUNT = $(words $(subst $(comma), ,$(PROCESSES)))

demo: install
	OMP_NUM_THREADS=1 $(PY) run_search.py -m experiment=demo worker=$(PROCESSES) hydra/launcher=joblib
	OMP_NUM_THREADS=1 $(PY) run_train.py experiment=demo arch=outputs/demo/arch.json processes=$(COUNT)

# Each prints its fifty slowest tests.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest --durations=50

test: install
	$(PYTEST) -n 2 -m "not slow and not faults"

# The tests of faults mostly wait, as those of services and launchers do: four at a time keep two cores at work.
test-slow: install
	$(PYTEST) -n 4 -m "slow or faults"

test-all: test test-slow

# The tests of every change with the oldest versions that setup.cfg allows, in an environment of its own. Warnings are
# no errors there: old versions warn of their own newer dependencies.
OLDEST = $(VENV)-oldest

test-oldest:
	$(PYTHON) -m venv $(OLDEST)
	PIP_CONSTRAINT=$(CURDIR)/constraints-oldest.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints-oldest.txt \
		$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev,medical,export]'
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n 2 -W default -m "not slow and not faults"

lint: install docs
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(PY) -m mypy

# The documentation as a folder, site/, that opens without a server or a network. A broken link, a page that the
# navigation lacks or a name without a docstring ends it with an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --clean

# The pages of docs/reference that are made of conf/ and the docstrings.
docs-reference: install
	$(PY) -m docs.generate

# The sdist and the wheel of a release in dist/, checked.
dist: install
	rm -rf dist
	$(PY) -m build
	$(PY) -m twine check --strict dist/*

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info
