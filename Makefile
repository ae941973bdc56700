# Every target makes its own environment first: .ci/bootstrap.py, standard library only, says what it downloads.
#   make demo                    the shipped singing, or VOCALS=my.wav; ARGS="--seed 7" passes options on
#   make test                    the default tests, two at a time; ARGS="-m slow" passes options on, JOBS=1 takes turns
#   make tiny                    train the shipped default from nothing, resumable
#   make tiny-singsong           train its baseline on the same tokens, resumable
#   make lint                    style, format, and the types of the public API
#   make docs                    the documentation as a site, in docs/site/_build
# Options: PYTHON=/path/to/python3  VENV=folder  JOBS=2  TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= $(shell command -v python3 || command -v python || echo python3)
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
BOOTSTRAP := $(PYTHON) .ci/bootstrap.py --venv $(VENV)
export TORCH_INDEX_URL

.PHONY: demo test tiny tiny-singsong lint docs

demo:
	@$(BOOTSTRAP) demo
	@$(BIN)/accompgen demo $(if $(VOCALS),"$(VOCALS)") $(ARGS)

test:
	@$(BOOTSTRAP) test
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

tiny:
	@$(BOOTSTRAP) test
	@$(BIN)/python examples/make_tiny.py $(ARGS)

tiny-singsong:
	@$(BOOTSTRAP) test
	@$(BIN)/python examples/make_tiny_singsong.py $(ARGS)

lint:
	@$(BOOTSTRAP) test
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

docs:
	@$(BOOTSTRAP) docs
	@$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs/site $(ARGS) docs docs/site/_build
	@echo docs/site/_build/index.html
