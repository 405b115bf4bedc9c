# make setup: everything that the other targets need; does nothing when it is up to date
# make test:  lint, types, tests
# make demo:  train an agent in a dream of Memory Maze, score it in the dream and the real maze

PYTHON_IN_VENV := .venv/bin/python
SET_UP := .venv/.set-up

ifeq ($(shell uname -s),Linux)
export MUJOCO_GL ?= egl
endif

.PHONY: setup test demo
.DEFAULT_GOAL := setup

setup: $(SET_UP)

$(SET_UP): pyproject.toml constraints.txt scripts/set_up.sh
	sh scripts/set_up.sh
	@touch $@

test: setup
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m mypy
	$(PYTHON_IN_VENV) -m pytest -q

demo: setup
	$(PYTHON_IN_VENV) scripts/demo.py
