# make run · test · lint · types · imports · bench · soak · demo · ranking · install · clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.developing
PIP := $(BIN)/python -m pip install --quiet --no-compile
export PIP_DISABLE_PIP_VERSION_CHECK := 1
TIERS := tests --ignore=tests/browser

.PHONY: run install develop prepare test test-quick lint format types imports bench soak demo ranking clean browser-packages

run: install
	@$(BIN)/domainkit ui

install: $(STAMP)
develop: $(DEV_STAMP)

# torch first and by itself: a resolver that meets it later may bring gigabytes of CUDA. Byte code is made at first import, not here:
# most of what is installed is never imported.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "domainkit needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch (the largest package) ..."
	@$(PIP) -c constraints.txt torch==2.13.0
	@echo "installing the rest ..."
	@$(PIP) -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	@echo "installing the tools of development ..."
	@$(PIP) -c constraints.txt -e '.[dev]'
	@$(BIN)/python -W ignore -m compileall -q -j 0 $(VENV)/lib || true # warnings of byte compilation are errors in the tests
	@touch $@

# A quarter to half an hour; every domain's thresholds have to be fitted anew afterwards.
ranking: prepare
	@$(BIN)/python -m evals.rankingfit

prepare: install
	@$(BIN)/domainkit reindex

test: develop lint types imports browser-packages
	@$(BIN)/python -m pytest tests

test-quick: develop
	@$(BIN)/python -m pytest $(TIERS) -m 'not slow and not browser'

lint: develop
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: develop
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: develop
	@$(BIN)/mypy

imports: develop
	@$(BIN)/lint-imports --no-cache

# The browser tests need Chromium and a font with Chinese; install both where that is allowed, else say so plainly.
browser-packages:
	@if command -v chromium >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
	  echo "installing chromium from Debian's packages ..."; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk) >/dev/null 2>&1 || true; fi
	@command -v chromium >/dev/null 2>&1 || { \
	  if [ "$$CI" = true ]; then echo "chromium is missing and could not be installed: the browser tests cannot be left out in CI"; exit 1; \
	  else echo "NOTE: chromium is missing, so the browser tests are left out (install it with: apt-get install chromium fonts-noto-cjk)"; fi; }

bench: develop prepare
	@$(BIN)/python -m benchmarks

soak: develop prepare
	@DOMAINKIT_SOAK=1 $(BIN)/python -m pytest tests -m soak

demo: prepare
	@$(BIN)/domainkit ask medical "What should I do first for a burn?"
	@$(BIN)/domainkit ask finance "Why does a bond's price fall when interest rates rise?"
	@$(BIN)/domainkit ask education "标准差和方差有什么关系？"

clean:
	rm -rf $(VENV) data/home build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
