"""Doing one job: train the cell, count what it cost, measure it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch

from dreamenv.core.device import pick_device
from dreamenv.core.files import atomic_write_json
from dreamenv.core.machine import machine
from dreamenv.core.reading import read_object
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.config import TrainConfig
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model
from dreamenv.world_model.model import WorldModel
from experiments.flops import training_flops
from experiments.grid import Grid
from experiments.job import Job, fingerprint
from experiments.tasks import measure


def train_and_measure(grid: Grid, job: Job) -> dict[str, Any]:
    """Train, or go on training, then do the tasks that are not done yet.

    Returns:
        Plain data: `command`, `parameters`, `training`, `machine` and `tasks`.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; everything is saved and the same call goes on.
        DreamEnvError: of training or of a task.
    """
    config = grid.train_config(grid.cell(job.cell), job.seed)
    folder = train_world_model(config)
    model = load_world_model(folder, pick_device(config.device))
    model.compute_dtype = getattr(torch, config.dtype)
    cost = training_cost(model, config, folder)
    model.compute_dtype = getattr(torch, grid.suite.dtype)
    tasks = {name: _measured(grid, job, name, model, config.stride) for name in job.tasks["tasks"]}
    return {
        "command": f"dreamenv compare --suite {grid.suite.name} "
        f"--only {job.cell} --seeds {job.seed}",
        "parameters": {
            "dynamics": _count(model.dynamics),
            "head": _count(model.head),
            "tokenizer": _count(model.tokenizer),
        },
        "training": cost,
        "machine": {**machine(config.device), "threads": torch.get_num_threads()},
        "tasks": tasks,
    }


def _measured(grid: Grid, job: Job, name: str, model: WorldModel, stride: int) -> dict[str, Any]:
    """The scores of one task, also kept in a file of their own: a task is not done again."""
    path, task = job.folder / "tasks" / f"{name}.json", job.tasks["tasks"][name]
    tag = fingerprint([job.training, task, job.tasks["dtype"]])
    if path.exists():
        stored = read_object(path)
        if stored["fingerprint"] == tag:
            return stored["scores"]
    store = RolloutStore(grid.store(grid.suite.rollouts_of(name)))
    scores = {**task, **measure(grid.suite.tasks[name], model, store, stride)}
    atomic_write_json(path, {"fingerprint": tag, "scores": scores})
    return scores


def training_cost(model: WorldModel, config: TrainConfig, run: Path) -> dict[str, Any]:
    """Updates, frames, seconds and arithmetic of the dynamics' training, as plain data.

    `seconds` are of the whole stage, evaluations and checkpoints included, over all resumptions;
    `frames_per_second` is the median rate between log lines; `matmul_flops` count the matrix
    products and convolutions of all updates.
    """
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    records = [record for record in records if record["stage"] == "dynamics"]
    rates = [r["frames_per_second"] for r in records if r["kind"] == "train"]
    history = [json.loads(line) for line in (run / "history.jsonl").read_text("utf-8").splitlines()]
    return {
        "updates": config.dynamics.steps,
        "frames": config.dynamics.steps * config.dynamics.batch * config.window,
        "seconds": records[-1]["seconds"],
        "frames_per_second": statistics.median(rates) if rates else None,
        "matmul_flops": training_flops(model, config),
        "dtype": config.dtype,
        "commits": sorted({entry["commit"] for entry in history}),
    }


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
