"""Training runs of seconds: the debug preset, float32 on one thread, a handful of updates."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.train import train_world_model
from tests.conftest import apart_from

MakeRun = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Run torch on one thread: sums are then taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def leave_out_open_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not imagine the held-out clips, which takes longer than all updates of a small run."""
    monkeypatch.setattr("dreamenv.training.stages.open_loop_metrics", lambda *_: {})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs that are not about what is measured on held-out clips."""
    leave_out_open_loop(monkeypatch)


@pytest.fixture
def few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs that are about it, and to which two clips say as much as sixteen."""
    monkeypatch.setattr("dreamenv.training.held_out.CLIPS", 2)


def small_run(out: Path, store: Path, **changes: Any) -> TrainConfig:
    """A tiny run; keywords replace its entries. Held-out episodes are like those of `data`."""
    data = Path(changes.get("data", store))
    values: dict[str, Any] = {
        "data": str(data),
        "held_out": str(apart_from(data) if data.exists() else data),
        "out": str(out),
        "preset": "debug",
        "window": 6,
        "dtype": "float32",
        "threads": 1,
        "tokenizer": StageConfig(steps=4, batch=6, learning_rate=1e-3, warmup=2),
        "dynamics": StageConfig(steps=6, batch=2, learning_rate=1e-3, warmup=2),
        "log_every": 2,
        "checkpoint_every": 2,
        "spawns": 3,
        "spawn_frames": 5,
    }
    if "weights_from" in changes or "tokenizer_from" in changes:
        del values["tokenizer"]
    if "weights_from" in changes:
        del values["preset"]
    return TrainConfig(**values | changes)


@pytest.fixture
def make_run(tmp_path: Path, counting_store: Path) -> MakeRun:
    """Make a tiny run in `tmp_path / name`; keywords replace its entries."""
    return lambda name="run", **changes: small_run(tmp_path / name, counting_store, **changes)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, counting_store: Path) -> TrainConfig:
    """What `make_run` makes, trained to its end, for tests that only read it or copy it."""
    run = small_run(tmp_path_factory.mktemp("finished") / "run", counting_store)
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_out_open_loop(monkeypatch)
        train_world_model(run)
    return run


@pytest.fixture
def copied_run(make_run: MakeRun, finished_run: TrainConfig) -> TrainConfig:
    """`make_run()` that was trained to its end already, to be harmed or gone on with."""
    shutil.copytree(finished_run.out, make_run().out)
    return make_run()
