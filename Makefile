# `make help` lists what there is. Everything that is needed is installed into .venv and dashboards/web.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
ENVIRONMENT := .venv/.installed
WEB := dashboards/web
BUNDLE := $(WEB)/dist/.built
WEB_SOURCES := $(shell find $(WEB)/src $(WEB)/public -type f 2>/dev/null) $(wildcard $(WEB)/*.html $(WEB)/*.ts $(WEB)/*.json)

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## run the whole pipeline with a dashboard (ARGS="--port 0" and so on)
	@exec $(BIN)/mandi demo $(ARGS)

.PHONY: test
test: setup ## run every test (ARGS="-k bars" and so on)
	@$(BIN)/pytest $(ARGS)

.PHONY: services services-stop
services: setup ## start real Kafka, TimescaleDB, Prometheus, Alertmanager on free ports; tests use them
	@$(BIN)/python -m tests.services up

services-stop: ## stop what make services started
	@$(BIN)/python -m tests.services down

.PHONY: check
check: setup ## format, lint, types, imports: what CI runs before the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@cd $(WEB) && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent check

.PHONY: chaos
chaos: setup ## kill every process at every commit point and at random, for half an hour
	@$(BIN)/pytest -m chaos tests/chaos --timeout 1800 -rP $(ARGS)

.PHONY: scenarios
scenarios: setup ## run demos: five scenarios against stream, alerts and page; every alert from its condition to who is on call
	@$(BIN)/pytest -m chaos tests/chaos/test_scenarios.py tests/chaos/test_alerts.py --timeout 900 -rP $(ARGS)

.PHONY: reconcile
reconcile: setup ## run every scenario; count what the venues said against both stores (ARGS="--scenario gap late")
	@$(BIN)/python -m tests.acceptance.reconcile $(or $(ARGS),--scenario all)

.PHONY: bench
bench: setup ## run every benchmark (NAME=bars for one)
	@for name in $(or $(NAME),bars log stores latency); do $(BIN)/mandi bench $$name || exit 1; done

.PHONY: setup
setup: $(ENVIRONMENT) $(BUNDLE) ## environment and dashboard bundle; nothing when nothing changed

.PHONY: lock
lock: $(ENVIRONMENT) ## compile the pinned requirements anew (needs uv)
	for extra in dev node; do uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --python-version 3.11 --extra $$extra pyproject.toml -o requirements/$$extra.txt; done
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 -c requirements/dev.txt pyproject.toml -o requirements/run.txt

.PHONY: clean
clean: ## remove what make setup made (not your data in .mandi)
	rm -rf .venv $(WEB)/dist $(WEB)/node_modules *.egg-info

$(ENVIRONMENT): requirements/dev.txt pyproject.toml
	@bash deploy/environment.sh .venv
	@touch $@

$(BUNDLE): $(WEB_SOURCES) | $(ENVIRONMENT)
	@bash deploy/bundle.sh .venv $(WEB)
	@touch $@
