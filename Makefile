# make setup: everything that the other targets need; does nothing when it is up to date
# make test:  lint, format, types, tests
# make lint, make type: only that; make format: put files into the one format
# make test-data: the importers that need other libraries, which it installs
# make docs:  the pages and the API as a site in site/, strictly
# make demo:  train an agent in a dream of Memory Maze, score it in the dream and the real maze
# make bench: speed of dreams, training and adapter, about ten minutes on two cores; fills in
#             docs/performance.md. Close other programs first. Not included, because it takes
#             twenty minutes more: python -m benchmarks.endurance
# make clients: other people's libraries on our environments, in a virtual environment of their own;
#             fills in docs/clients.md

PYTHON_IN_VENV := .venv/bin/python
SET_UP := .venv/.set-up

ifeq ($(shell uname -s),Linux)
export MUJOCO_GL ?= egl
endif

.PHONY: setup test test-data lint format type docs demo bench clients
.DEFAULT_GOAL := setup

setup: $(SET_UP)

$(SET_UP): pyproject.toml constraints.txt scripts/set_up.sh
	sh scripts/set_up.sh
	@touch $@

# A process per core, each with one thread, but few: each makes the fixtures that files share anew.
# Whole files, for their own fixtures; in their order, since those that take long have few tests.
IN_PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: lint type
	OMP_NUM_THREADS=1 $(PYTHON_IN_VENV) -m pytest -q $(IN_PARALLEL)

test-data: setup
	$(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --constraint constraints-data.txt \
		--no-build-isolation --editable '.[minari,lerobot,video]'
	OMP_NUM_THREADS=1 $(PYTHON_IN_VENV) -m pytest -q tests/rollouts/test_import_libraries.py

lint: setup
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .

format: setup
	$(PYTHON_IN_VENV) -m ruff check --fix .
	$(PYTHON_IN_VENV) -m ruff format .

type: setup
	$(PYTHON_IN_VENV) -m mypy

docs: setup
	$(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --constraint constraints-docs.txt \
		--no-build-isolation --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(PYTHON_IN_VENV) -m mkdocs build --strict --quiet

demo: setup
	$(PYTHON_IN_VENV) scripts/demo.py

bench: setup
	$(PYTHON_IN_VENV) -m benchmarks.state_bytes
	$(PYTHON_IN_VENV) -m benchmarks.dream_speed
	$(PYTHON_IN_VENV) -m benchmarks.training_speed
	$(PYTHON_IN_VENV) -m benchmarks.adapter_speed --rounds 15
	$(PYTHON_IN_VENV) -m benchmarks.performance

CLIENTS := .venv-clients/.set-up

clients: $(CLIENTS)
	.venv-clients/bin/python -m benchmarks.clients

$(CLIENTS): $(SET_UP) benchmarks/clients/requirements.txt scripts/set_up_clients.sh
	sh scripts/set_up_clients.sh
	@touch $@
