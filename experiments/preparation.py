"""What all jobs of a grid share, made once: rollouts, tokenizer, encoded rollouts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from dreamenv.core.backends import LOCAL, Backend
from dreamenv.core.device import pick_device
from dreamenv.core.errors import DreamEnvError, RolloutError
from dreamenv.core.files import atomic_write_json
from dreamenv.core.locks import locked
from dreamenv.core.reading import read_json
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.settings import (
    CollectSettings,
    require_same_settings,
    stored_settings,
)
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.data import LatentWindows
from dreamenv.training.fit_config import model_config
from dreamenv.training.plan import take_tokenizer
from dreamenv.training.train import train_world_model
from dreamenv.world_model.model import WorldModel
from experiments.grid import Grid
from experiments.job import fingerprint
from experiments.queue import Say
from experiments.suite import Rollouts
from experiments.tasks import draw

PREPARED = "tasks_drawn.json"
"""A file of the grid's folder, once it is prepared."""


def prepare(grid: Grid, workers: int = 1, backend: Backend = LOCAL, say: Say = print) -> None:
    """Make whatever is not there yet; one process does, others on the same folder wait for it.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; the same call goes on.
        RolloutError: a store holds other rollouts than the suite asks for.
        DreamEnvError: the tokenizer cannot be trained.
    """
    with _alone(grid, say):
        for rollouts in grid.suite.rollouts.values():
            _collect(grid, rollouts, workers, say, backend)
        _draw_tasks(grid)
        if not grid.suite.tokenizer_from:
            _train_tokenizer(grid, say)
        _encode(grid)


@contextlib.contextmanager
def _alone(grid: Grid, say: Say) -> Iterator[None]:
    path = grid.out / "preparation.lock"
    with locked(path) as mine:
        if mine:
            yield
            return
    say("another process prepares rollouts and tokenizer; waiting for it")
    with locked(path, wait=True):
        yield


def _collect(grid: Grid, rollouts: Rollouts, workers: int, say: Say, backend: Backend) -> None:
    path = grid.store(rollouts)
    settings = CollectSettings(
        rollouts.env_id,
        rollouts.policies,
        rollouts.seed,
        {"max_episode_steps": rollouts.episode_steps},
        record_info=rollouts.record_info,
    )
    with contextlib.suppress(RolloutError):
        store = RolloutStore(path)
        stored = stored_settings(store.metadata, path)
        wanted = dataclasses.replace(settings, seeds=stored["seeds"])
        require_same_settings(stored, wanted.to_plain(), path)
        if store.num_steps >= rollouts.frames:
            return
    say(f"collecting {rollouts.frames} frames of {rollouts.env_id} into {path}")
    complete = collect(
        settings.env_id,
        rollouts.frames,
        settings.policies,
        workers,
        path,
        settings.seed,
        settings.env_kwargs,
        record_info=settings.record_info,
        backend=backend,
    )
    if not complete:
        raise KeyboardInterrupt


def _draw_tasks(grid: Grid) -> None:
    """Draw the clips of every task once: what the rollouts lack is found before hours of training.

    Raises:
        RolloutError: names the task.
    """
    path = grid.out / PREPARED
    drawn: list[str] = read_json(path) if path.exists() else []
    suite = grid.suite
    for cell in suite.cells:
        size, stride = grid.architecture(cell).frame_size, grid.train_config(cell, 0).stride
        for name in cell.tasks or suite.default_tasks:
            task = suite.tasks[name]
            rollouts = suite.rollouts_of(name)
            about = [dataclasses.asdict(rollouts), dataclasses.asdict(task), size, stride]
            if fingerprint(about) not in drawn:
                try:
                    draw(task, RolloutStore(grid.store(rollouts)), size, stride)
                except RolloutError as error:
                    raise RolloutError(f"task {name!r}: {error}") from error
                drawn.append(fingerprint(about))
    atomic_write_json(path, drawn)


def _train_tokenizer(grid: Grid, say: Say) -> None:
    job = grid.tokenizer_job()
    if job.scores() is not None:
        return
    say("training the tokenizer that all cells share")
    job.enter()
    run = train_world_model(grid.tokenizer_config())
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    records = [r for r in map(json.loads, lines) if r["stage"] == "tokenizer"]
    held_out = [r for r in records if r["kind"] == "held_out"]
    if not held_out:
        raise DreamEnvError(f"{run} holds no metrics of the tokenizer; delete it and run again")
    job.finish({"psnr": held_out[-1]["psnr"], "seconds": records[-1]["seconds"]})


def _encode(grid: Grid) -> None:
    """Write the folder of encoded rollouts that all cells share, unless it is there."""
    config = grid.train_config(grid.suite.cells[0], seed=0)
    store = RolloutStore(config.data)
    held_out = RolloutStore(config.held_out)
    model = WorldModel(model_config(config, store, held_out)).to(pick_device(config.device))
    model.compute_dtype = getattr(torch, config.dtype)
    take_tokenizer(model, config.tokenizer_from)
    LatentWindows(store, model, Path(config.latents), window=2, pose=config.pose_infos)
