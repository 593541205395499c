# Everything a person or CI does here. `make help` lists it.
#
# Set-up is incremental: each step leaves a stamp and runs again only when the file it depends on changes.

PYTHON ?= python3
# Tests mostly wait for brokers, workers and time-outs, so more processes run them than there are cores. Each starts its
# own Kafka and Redis.
TESTERS ?= 3
KAFKA_VERSION := 4.3.1

VENV := .venv
BIN := $(VENV)/bin
CACHE := .cache
KAFKA_LIBS := $(CACHE)/kafka-$(KAFKA_VERSION)/libs
TOOLS := $(CACHE)/tools
ASYNCAPI := $(CACHE)/asyncapi

# Without isolation, so that what builds a package is locked too.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input --no-build-isolation --use-pep517
LOCKED := --require-hashes --requirement
STACK := $(BIN)/python -m deploy.stack

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check format schemas test demo up bench soak lock clean programs test-programs bench-programs

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

# --- what people type -----------------------------------------------------------------------------------------------

setup: test-programs $(VENV)/.runtime $(VENV)/.dev $(KAFKA_LIBS)/.complete $(TOOLS)/.complete $(ASYNCAPI)/.complete ## install everything, say what

check: $(VENV)/.dev $(TOOLS)/.complete $(ASYNCAPI)/.complete ## format, lint, types, imports, unit tests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q schemas streams agents tests/unit

format: $(VENV)/.dev ## rewrite the sources as `check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(VENV)/.dev ## write what is generated: JSON Schemas, AsyncAPI, reference tables
	$(BIN)/python -m schemas.contract_documents
	$(BIN)/python -m deploy.reference

test: setup ## every check and every test, on a real Kafka and a real Redis
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q --numprocesses=$(TESTERS) --dist=loadfile --no-loadscope-reorder --durations=25 --cov --cov-report=term

demo: programs $(VENV)/.runtime $(KAFKA_LIBS)/.complete ## watch real flights being judged as their labels land
	@$(STACK) run -- $(BIN)/latelabel demo $(if $(LOOK),--look) $(if $(LEAK),--leak)

up: programs $(VENV)/.runtime $(KAFKA_LIBS)/.complete ## Kafka and Redis in the foreground, their addresses printed
	@$(STACK) up

# `make bench ONLY=w1,w2` measures some, `SCALE=0.01` shows in a minute that all runs, `PEERS=all` needs much room.
bench: setup bench-programs $(CACHE)/peers/.complete $(if $(filter all,$(PEERS)),$(CACHE)/more-peers/.complete $(CACHE)/kafka-streams/.complete) ## measure; prints each figure with its bar
	@$(BIN)/python -m tests.bench --json $(CACHE)/bench.json $(if $(ONLY),--only $(ONLY)) $(if $(SCALE),--scale $(SCALE)) \
		$(if $(PEERS),--peers $(PEERS))

soak: setup ## chaos for minutes, with its seed printed
	$(BIN)/pytest -v -s -m soak --timeout=0

lock: $(CACHE)/uv/bin/uv ## write the exact versions and hashes of pyproject.toml's dependencies
	$(call compile,requirements-build.txt,deploy/build.in)
	$(call compile,requirements.txt,pyproject.toml)
	$(call compile,requirements-dev.txt,pyproject.toml --extra dev --constraint requirements.txt)
	$(call compile,requirements-tools.txt,deploy/tools.in)
	$(call compile,requirements-peers.txt,deploy/peers.in)
	$(call compile,requirements-more-peers.txt,deploy/more-peers.in)

clean: ## remove what set-up and tests have made
	rm -rf $(VENV) $(CACHE) .coverage .coverage.* .*_cache build dist *.egg-info

# --- steps of the set-up ----------------------------------------------------------------------------------------------

programs:
	@PYTHON=$(PYTHON) deploy/install-programs

test-programs: programs
	@PYTHON=$(PYTHON) deploy/install-programs --tests

bench-programs: programs
	@PYTHON=$(PYTHON) deploy/install-programs --bench

$(VENV)/.build: requirements-build.txt | programs
	@echo "setup: creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) $<
	@touch $@

$(VENV)/.runtime: requirements.txt pyproject.toml $(VENV)/.build
	@echo "setup: installing $$(grep -c '==' $<) packages of $<"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) $<
	@$(BIN)/python $(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "setup: installing what tests need of $<"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) $<
	@touch $@

# A checker of its own environment: it needs a newer click than faust-streaming allows.
$(TOOLS)/.complete: requirements-tools.txt | programs
	@echo "setup: installing the checkers of $<"
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python $(PIP_INSTALL) $(LOCKED) $<
	@touch $@

# What the benchmark compares with, apart from everything else.
$(CACHE)/%/.complete: requirements-%.txt | programs
	@echo "setup: installing the peers of $<"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-input $(LOCKED) $<
	@touch $@

KAFKA_STREAMS := tests/bench/peers/kafka_streams
$(CACHE)/kafka-streams/.complete: $(KAFKA_STREAMS)/pom.xml $(KAFKA_STREAMS)/Join.java | test-programs
	@echo "setup: fetching Kafka Streams"
	@mkdir -p $(@D)/classes
	@mvn --batch-mode --quiet --file $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)/libs
	@javac -nowarn -cp '$(@D)/libs/*' -d $(@D)/classes $(KAFKA_STREAMS)/Join.java
	@touch $@

# Without scripts: nothing of what it fetches runs but the parser itself.
$(ASYNCAPI)/.complete: deploy/asyncapi/package-lock.json $(TOOLS)/.complete
	@echo "setup: fetching AsyncAPI's parser"
	@mkdir -p $(ASYNCAPI) && cp deploy/asyncapi/package.json deploy/asyncapi/package-lock.json $(ASYNCAPI)
	@cd $(ASYNCAPI) && PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(KAFKA_LIBS)/.complete: deploy/kafka/pom.xml | programs
	@echo "setup: fetching Apache Kafka $(KAFKA_VERSION)"
	@rm -rf $(KAFKA_LIBS) && mkdir -p $(KAFKA_LIBS)
	@mvn --batch-mode --file deploy/kafka/pom.xml dependency:copy-dependencies \
		-DoutputDirectory=$(CURDIR)/$(KAFKA_LIBS) >$(CACHE)/maven.log 2>&1 || { cat $(CACHE)/maven.log >&2; exit 1; }
	@touch $@

$(CACHE)/uv/bin/uv:
	@$(PYTHON) -m venv $(CACHE)/uv
	@$(CACHE)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv

# One lock for every supported Python; without headers or addresses it reads the same wherever it was made.
# Extras stay: else pip looks for the newest `coverage[toml]`, and refuses what has no hash.
compile = $< pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --upgrade --output-file $(1) $(2)
