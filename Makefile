# make demo: the main experiment on the synthetic cohort.  make test: the tests.  make venv: the environment with every extra.
# make docs: the documentation site, notebooks executed, in build/site.
# make test-matrix: the fast tests on the oldest and newest Python, fastai and torch, one after the other.
# make release: the package with its SBOM and licenses, in dist/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .release-tools

.PHONY: demo test test-matrix venv lint docs release clean

demo: $(VENV)/.base
	$(BIN)/darkcovid run recipes/demo.yaml

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 15

venv: $(VENV)/.all

lint: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-matrix: $(TOOLS)/.ready
	$(TOOLS)/bin/python tests/matrix.py

docs: $(VENV)/.all
	rm -rf build/notebooks && mkdir -p build && cp -r notebooks build/notebooks
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/jupyter nbconvert --execute --to markdown --output-dir docs/notebooks build/notebooks/*.ipynb
	$(BIN)/typer darkcovid.cli utils docs --name darkcovid --title "Command line" --output docs/cli.md
	$(BIN)/mkdocs build --strict

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/.all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

# The package, what it stands on (SBOM, licenses), and known holes in that where an advisory service can be reached.
release: $(VENV)/.all $(TOOLS)/.ready
	$(TOOLS)/bin/python -m build --outdir dist .
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --short-PURLs --output-format JSON --output-file dist/sbom.json
	$(TOOLS)/bin/pip-licenses --python $(BIN)/python --format csv --output-file dist/licenses.csv
	-$(TOOLS)/bin/pip-audit --path $(shell ls -d $(VENV)/lib/python*/site-packages 2>/dev/null)

$(TOOLS)/.ready: Makefile
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet build cyclonedx-bom pip-audit pip-licenses uv
	touch $@

clean:
	rm -rf $(VENV) $(TOOLS) build dist *.egg-info
