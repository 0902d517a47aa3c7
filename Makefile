# `make demo` and `make test` set up everything they need on a machine with Python 3.11.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
QUINTET := .venv/bin/quintet
WORLD ?= grocer
DATA_DIR ?= quintet-data/$(WORLD)
ROOMS := schemas streams policy projections service rewards trainer evidence console simulator evaluation cli load

.PHONY: help setup system demo test check faults bench load learn containers schemas dashboards lock clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/ready: pyproject.toml requirements.lock deploy/setup.sh
	@bash deploy/setup.sh
	@touch $@

setup: .venv/ready ## fill .venv with Quintet and everything it needs

system: ## the Debian packages that tests need: Redis, Java and Maven for Kafka, Chromium, Prometheus
	@bash deploy/setup-system.sh

demo: setup ## the whole ring with live shoppers: [WORLD=grocer|synthetic|aisles] [BANNERS=20000] [REPORT=report.json]
	$(QUINTET) demo --world $(WORLD) --data-dir $(DATA_DIR) \
	  $(if $(BANNERS),--banners $(BANNERS) --headless) $(if $(REPORT),--report $(REPORT)) $(ARGS)

test: setup system ## every test, on a genuine Kafka broker, Redis and browser
	$(PYTHON) -m pytest -n 2 --dist loadfile $(ARGS)

check: setup ## lint, format, types, import rules, dependencies, spelling
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	.venv/bin/deptry .
	.venv/bin/codespell $(ROOMS) tests deploy *.md

faults: setup system ## every fault the ring must survive, seeded, one table: [ARGS="--only F6 --seed 7"] [ARGS="--replay FILE"]
	$(PYTHON) -m tests.faults.suite $(ARGS)

bench: setup system ## speed against the empty endpoint and the ordinary build: [ARGS="--rounds 5"]
	$(PYTHON) -m load.bench $(ARGS)

load: setup system ## shoppers in every mood, a flood, slow clients; a page of curves: [ARGS="--smoke"|"--soak"|"--url http://..."]
	$(PYTHON) -m load.play $(ARGS)

learn: setup ## what must hold of the policy, played against its rivals without the wire: [ARGS="--parts aisles --fresh"]
	$(QUINTET) learn --musts --processes 2 $(if $(filter command,$(origin WORLD)),--world $(WORLD)) $(ARGS)

containers: ## build the images, bring docker-compose.yml up for real, check it, take it down
	@bash tests/containers/run.sh $(ARGS)

schemas: setup ## write the JSON Schema of every message
	$(PYTHON) -m schemas

dashboards: setup ## write Grafana's dashboards from deploy/dashboards
	$(PYTHON) -m deploy.dashboards

lock: setup ## pin every dependency with its hash
	.venv/bin/uv pip compile -q pyproject.toml --all-extras --generate-hashes --no-header \
	  --no-emit-index-url --python-version 3.11 -o requirements.lock

clean: ## remove what was made: environment, caches, local data
	rm -rf .venv .cache build *.egg-info quintet-data .mypy_cache .ruff_cache .pytest_cache
