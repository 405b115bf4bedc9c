"""Rollouts, tokenizer and latents are made once, from nothing, and only for these settings."""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.latent_log import LatentLog
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model
from experiments import preparation
from experiments.grid import Grid
from experiments.preparation import prepare
from experiments.suite import Cell, Rollouts, Suite, Task
from tests.experiments.conftest import make_suite

ENV = "tests.experiments.walking_env:Walking-v0"
POSE = ("agent_pos", "agent_dir")


def walking_suite(**changes: Any) -> Suite:
    """Two cells, by pose and by action, on episodes of a walker."""
    fields: dict[str, Any] = {
        "data": Rollouts("train", ENV, 2, 120, {"uniform": 1.0}, 0, POSE),
        "held_out": Rollouts("test", ENV, 2, 120, {"uniform": 1.0}, 1, POSE),
        "training": {
            "conditioning": "pose",
            "stride": 2,
            "window": 16,
            "dtype": "float32",
            "threads": 1,
            "tokenizer": {"steps": 2, "batch": 4},
            "dynamics": {"steps": 2, "batch": 1},
        },
        "cells": (
            Cell("ours", "ours", ("baselines",)),
            Cell("by_action", "ours by action", ("actions",),
                 training={"conditioning": "action", "stride": 1}, tasks=("revisit",)),
        ),
        "tasks": {
            "retrieval": Task("retrieval", {"context": 8, "clips": 4}),
            "reasoning": Task("reasoning", {"context": 8, "horizon": 8, "clips": 4}),
            "revisit": Task("revisit", {"context": 64, "horizon": 4, "min_age": 8, "clips": 2}),
        },
    }  # fmt: skip
    return make_suite(**fields | changes)


def quiet(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all is prepared."""
    out = tmp_path_factory.mktemp("made")
    prepare(Grid(walking_suite(), out), say=quiet)
    return out


@pytest.fixture
def prepared(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "prepared"))


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the functions of the module raise."""

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("this was done already")

    for name in names:
        monkeypatch.setattr(preparation, name, forbidden)


def encoded_rows(folder: Path) -> np.ndarray:
    """Raw latents of all frames, of the one tokenizer that there is."""
    (log,) = (folder / "latents").glob("[0-9a-f]*")
    found = LatentLog.read(log)
    assert found is not None
    return found.mapped()["latents"].copy()


def state_of(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*.*s*")}


def test_everything_is_made(made: Path) -> None:
    suite = walking_suite()
    for rollouts in (suite.data, suite.held_out):
        store = RolloutStore(made / "rollouts" / rollouts.name)
        assert (store.num_episodes, store.num_steps) == (2, 240)
        assert store.read(0).info["agent_pos"].shape == (121, 2)
    psnr = Grid(suite, made).tokenizer_job().scores()["psnr"]  # type: ignore[index]
    assert np.isfinite(psnr)
    load_world_model(made / "tokenizer" / "run")
    assert len(encoded_rows(made)) == 2 * 121


def test_nothing_is_made_twice(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "collect", "train_world_model", "draw")
    before = state_of(prepared / "latents")
    prepare(Grid(walking_suite(), prepared), say=quiet)
    assert state_of(prepared / "latents") == before


def test_cells_train_on_what_was_made(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(walking_suite(), prepared)
    before = state_of(prepared / "latents")
    tokenizer = load_world_model(prepared / "tokenizer" / "run").tokenizer.state_dict()
    for cell in grid.suite.cells:
        folder = train_world_model(grid.train_config(cell, seed=1))
        taken = load_world_model(folder).tokenizer.state_dict()
        assert all(torch.equal(taken[name], tensor) for name, tensor in tokenizer.items())
    assert state_of(prepared / "latents") == before, "both use the same folder"


def test_other_rollouts_than_the_suites_are_refused(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "train_world_model")
    other = dataclasses.replace(walking_suite().held_out, seed=5)
    with pytest.raises(RolloutError, match="collected with seed = 1, not 5"):
        prepare(Grid(walking_suite(held_out=other), prepared), say=quiet)


def test_rollouts_from_elsewhere_and_a_bundled_tokenizer(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "collect", "train_world_model")
    monkeypatch.setattr(preparation, "_encode", lambda _: None)
    suite = walking_suite(tokenizer_from="bundled:memory_maze_9x9")
    prepare(Grid(suite, tmp_path / "out", prepared / "rollouts"), say=quiet)
    assert not (tmp_path / "out" / "tokenizer").exists()


def test_a_changed_tokenizer_is_trained_anew(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "collect")
    training = walking_suite().training | {"tokenizer": {"steps": 3, "batch": 4}}
    before = encoded_rows(prepared)
    prepare(Grid(walking_suite(training=training), prepared), say=quiet)
    assert (prepared / "tokenizer" / "stale" / "1" / "run" / "config.json").exists()
    assert not np.array_equal(encoded_rows(prepared), before)


def test_what_a_task_lacks_is_found_before_training(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "train_world_model")
    tasks = walking_suite().tasks | {"retrieval": Task("retrieval", {"context": 50, "clips": 99})}
    with pytest.raises(RolloutError, match="^task 'retrieval': .* has only .* starts"):
        prepare(Grid(walking_suite(tasks=tasks), prepared), say=quiet)


def test_an_interrupted_collection_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "collect", lambda *_, **__: False)
    with pytest.raises(KeyboardInterrupt):
        prepare(Grid(walking_suite(), tmp_path), say=quiet)


def test_a_second_process_waits_for_the_first(prepared: Path) -> None:
    said: list[str] = []
    with (prepared / "preparation.lock").open() as first:
        fcntl.flock(first, fcntl.LOCK_EX)

        def let_go(line: str) -> None:
            said.append(line)
            first.close()

        prepare(Grid(walking_suite(), prepared), say=let_go)
    assert said == ["another process prepares rollouts and tokenizer; waiting for it"]
