# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: demo test test-slow check clean

demo: $(VENV)/demo.installed
	$(BIN)/monai-tumor demo

test: $(VENV)/dev.installed check
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/dev.installed
	$(BIN)/python -m pytest -m slow

check: $(VENV)/dev.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# torch comes first, pinned, so that nothing else chooses another. Which build comes, CPU or CUDA, is
# for pip's own settings to say: left alone, a Linux machine gets the CUDA one.
$(VENV)/torch.installed: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/demo.installed: $(VENV)/torch.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[phantom]"
	touch $@

$(VENV)/dev.installed: $(VENV)/torch.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo runs
