# `make up` and `make test` are all a new machine needs; the rest is for developers.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
PANTS := tools/pants
PINS := 3rdparty/python
TESTS ?= ::
VENV := .venv
# Where imports start, for the plain virtual environment; pants.toml says the same to Pants.
ROOTS := dist/codegen $(wildcard libs/*) $(wildcard services/*) cli bench tools

help:  ## list the tasks
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/run.stamp $(VENV)/stubs.stamp  ## run the whole system on embedded defaults (ARGS=… for flags)
	@exec $(VENV)/bin/python -m layer_cli up $(ARGS)

test:  ## run every test; ends with one summary line
	@rm -rf dist/test/reports
	@$(PANTS) --tag=-package test $(TESTS); status=$$?; \
	if [ $$status -eq 69 ]; then \
	  echo "Pants cannot run here: the same tests, by pytest, from the same lock"; $(MAKE) pytest; \
	else \
	  python3 tools/summarize_tests.py dist/test/reports $$status; \
	fi

pytest: $(VENV)/dev.stamp $(VENV)/stubs.stamp  ## the same tests without Pants (ARGS=… for paths)
	@$(VENV)/bin/python -m pytest -n 2 --dist=loadfile $(ARGS)

lint:  ## style of code, protos and imports
	@$(PANTS) lint ::

typecheck:  ## mypy --strict and the rules of who may import whom
	@$(PANTS) check ::

format:  ## rewrite the code in our style
	@$(PANTS) fix fmt ::

tailor:  ## check that every source file has a BUILD target
	@$(PANTS) tailor --check ::

package:  ## one PEX per service in dist/
	@$(PANTS) package services:: cli::

package-test:  ## start the packaged services: proves that their dependencies are complete
	@$(PANTS) --tag=package test ::

proto:  ## write the generated stubs to dist/codegen, for editors and the virtual environment
	@rm -rf dist/codegen && rm -f $(VENV)/stubs.stamp && $(MAKE) $(VENV)/stubs.stamp

bench: $(VENV)/dev.stamp $(VENV)/stubs.stamp  ## print the figures of docs/reference/benchmarks.md
	@$(VENV)/bin/python -m layer_bench $(ARGS)
	@$(VENV)/bin/python -m layer_bench.vectorstore
	@$(VENV)/bin/python -m layer_bench.cache
	@$(VENV)/bin/python -m layer_bench.history
	@$(VENV)/bin/python -m layer_bench.scans
	@$(VENV)/bin/python -m layer_bench.functions
	@$(VENV)/bin/python -m layer_bench.snapshots
	@$(VENV)/bin/python -m layer_bench.queue

docs: $(VENV)/run.stamp $(VENV)/stubs.stamp  ## rewrite the generated reference pages
	@$(VENV)/bin/python tools/reference.py docs/reference

# --- locks ------------------------------------------------------------------------------------
UV := dist/uv/bin/uv
LOCK = $(UV) pip compile --no-config --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header

$(UV):
	@$(PYTHON) -m venv dist/uv && dist/uv/bin/pip install --quiet --disable-pip-version-check uv

lock: $(UV)  ## rewrite the locks from the direct pins (ARGS=--upgrade to move them)
	@$(LOCK) $(ARGS) -o $(PINS)/default.txt $(PINS)/default.in
	@set -e; for name in runtime deploy protogen pytest mypy ruff packaging; do \
	  $(LOCK) $(ARGS) -c $(PINS)/default.txt -o $(PINS)/$$name.txt $(PINS)/$$name.in; done

# --- the plain virtual environment ------------------------------------------------------------
INSTALL = $(VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes

$(VENV)/bin/python:
	@echo "creating $(VENV)" && $(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(PINS)/runtime.txt $(PINS)/protogen.txt | $(VENV)/bin/python
	@echo "installing the run-time packages (about a minute, once)"
	@$(INSTALL) -r $(PINS)/runtime.txt
	@$(INSTALL) -r $(PINS)/protogen.txt
	@touch $@

$(VENV)/dev.stamp: $(PINS)/default.txt $(VENV)/run.stamp
	@echo "installing the packages of the tests"
	@$(INSTALL) -r $(PINS)/default.txt
	@touch $@

$(VENV)/stubs.stamp: $(shell find proto -name '*.proto') tools/protogen.py $(VENV)/run.stamp
	@$(VENV)/bin/python tools/protogen.py proto dist/codegen
	@printf '%s\n' $(ROOTS:%=$(CURDIR)/%) > $$($(VENV)/bin/python -c 'import site; print(site.getsitepackages()[0])')/layer.pth
	@touch $@

.PHONY: help up test pytest lint typecheck format tailor package package-test proto bench docs lock
