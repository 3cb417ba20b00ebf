# make run    set up, then the whole pipeline          make test   set up, then the tests
# make check  formatter, linter, types                 make bench  speed and quality against peers
# make soak   kills, faults, and an hour of both under DVC: docs/RELIABILITY.md (make soak MINUTES=5 SEED=1)
# make fuzz   a million hostile files for every reader, some hours (make fuzz EXECUTIONS=20000 SEED=2)

VENV := .venv
PYTHON ?= python3
MINUTES ?= 60
EXECUTIONS ?= 1000000
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: run test check bench soak fuzz setup peers

run: setup
	@wordlab check
	dvc repro

test: peers
	pytest

check: setup
	ruff format --check .
	ruff check .
	mypy

bench: peers
	python -m benchmarks.bench

soak: setup
	nice -n 10 python -m tests.soak.run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz: setup
	@python -m pip install --quiet -c constraints.txt -e '.[fuzz]' || echo "without atheris: inputs are not guided by coverage"
	nice -n 15 python -m tests.fuzz --executions $(EXECUTIONS) $(if $(SEED),--seed $(SEED)) --result benchmarks/results/fuzz.json

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; assert (3, 11) <= sys.version_info < (3, 14), "found " + sys.version' || { \
	  echo "wordlab needs Python 3.11 to 3.13 with venv. On Debian or Ubuntu: apt-get install python3-venv. Another python: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up $(VENV): about 2 GB with the CPU build of torch, several more with the CUDA build; some minutes"
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

peers: $(VENV)/.peers

$(VENV)/.peers: $(VENV)/.installed
	@$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[peers]' > $(VENV)/peers.log 2>&1 || \
	  echo "without fastText, which is built here and needs g++ and Python's headers ($(VENV)/peers.log): what compares with it skips"
	@touch $@
