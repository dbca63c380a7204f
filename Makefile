# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# So many tests run at a time; those of a file stay together, as they share what is slow to make.
JOBS   ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test lint format clean install

demo: $(STAMP)  ## Walk real telephone speech once round the loop (about 10 minutes on 2 cores)
	$(BIN)/misheard demo

test: $(STAMP)  ## The whole suite, with the real model (30 to 60 minutes on 2 cores)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# The guide's import paths start at the root of the checkout, so they are looked up from there.
	MYPYPATH=. $(BIN)/mypy --explicit-package-bases src/data experiments examples

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(STAMP)

# Made anew when the dependencies change; otherwise reused.
$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("misheard needs Python 3.11 or newer; pass PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache
