# Everything sets itself up: a target that needs the environment makes it first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
UV = $(BIN)/python -m uv pip install --quiet --python $(BIN)/python
PAGE ?= demo-output
CALLS ?= 1000000
FORKS ?= 1000
PYTHONS ?= 3.10 3.11 3.12 3.13

.DEFAULT_GOAL := help
.PHONY: help demo demo-stack test check format generate stack bench faults fuzz forks soak \
        bench-detection test-pythons clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# The demo's environment is a subset of the developer's: it is up in seconds.
$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.demo
	$(UV) -e '.[demo,frames]' --group dev
	@touch $@

demo: $(VENV)/.demo ## watch a real model on real data while six faults are injected (two minutes)
	$(BIN)/otel-ml demo --out $(PAGE)

demo-stack: $(VENV)/.demo ## the same through a real Collector and Prometheus (needs Go; builds once)
	$(BIN)/python collector_config/stack.py build
	$(BIN)/python collector_config/demo_stack.py --out $(PAGE)

test: $(VENV)/.dev ## run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev ## lint, types, generated files, changelog
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m otel_ml.semconv._generate --check
	$(BIN)/python -m otel_ml.config.schema --check
	$(BIN)/python -m otel_ml.generate.runbooks --check
	$(BIN)/python -m otel_ml.generate.dashboards --out dashboards --check
	$(BIN)/python -m tests.faults.page --check

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(VENV)/.dev ## write every generated file anew
	$(BIN)/python -m otel_ml.semconv._generate
	$(BIN)/python -m otel_ml.config.schema
	$(BIN)/python -m otel_ml.generate.runbooks
	$(BIN)/python -m otel_ml.generate.dashboards --out dashboards
	$(BIN)/python -m tests.faults.page

stack: $(VENV)/.dev ## build Collector, Prometheus, promtool and Alertmanager into the cache
	$(BIN)/python collector_config/stack.py build

bench: $(VENV)/.dev ## measure what it costs, beside other tools; fails on a missed budget (ten minutes)
	$(BIN)/python -m benchmarks.cost --keep

faults: $(VENV)/.dev ## run the tests of faults, record how they went, write the page
	$(BIN)/python -m pytest -m fault --fault-results tests/faults/results.json $(PYTEST_ARGS)
	$(BIN)/python -m tests.faults.page

fuzz: $(VENV)/.dev ## a million odd calls (CALLS=1000000)
	OTEL_ML_FUZZ_CALLS=$(CALLS) $(BIN)/python -m pytest tests/faults/test_faults_fuzz.py -s

forks: $(VENV)/.dev ## a thousand forks under load (FORKS=1000)
	FAULTS_FORKS=$(FORKS) $(BIN)/python -m pytest tests/faults/test_faults_process_forks.py -s

soak: $(VENV)/.dev ## ten minutes without a receiver, then an hour of churn
	$(BIN)/python -m tests.faults.soak --minutes 10 --rate 10000
	$(BIN)/python -m tests.faults.soak --minutes 60 --rate 1000 --churn --collector up --above 512

bench-detection: ## measure false incidents and the detection of faults (BENCH=--quick: less)
	$(PYTHON) benchmarks/detection/setup.py $(BENCH)

test-pythons: ## run the quick tests on every supported Python that is found
	@for v in $(PYTHONS); do \
	  for p in python$$v $$HOME/.pyenv/versions/$$v.*/bin/python$$v; do \
	    if $$p --version >/dev/null 2>&1; then \
	      echo "== $$v"; \
	      $(MAKE) --no-print-directory test PYTHON=$$p VENV=.venv-$$v \
	        PYTEST_ARGS='-q -n 2 -m "not stack and not server and not slow and not fault"' || exit 1; \
	      continue 2; \
	    fi; \
	  done; echo "== $$v is not installed"; \
	done

clean: ## remove environments and outputs
	rm -rf .venv .venv-* demo-output dist build
