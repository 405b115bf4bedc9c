"""Training runs of seconds: the debug preset, float32 on one thread, a handful of updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamenv.training.config import StageConfig, TrainConfig

MakeRun = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Run torch on one thread: sums are then taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_run(tmp_path: Path, counting_store: Path) -> MakeRun:
    """Make a tiny run in `tmp_path / name`; keywords replace its entries."""

    def make(name: str = "run", **changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "data": str(counting_store),
            "held_out": str(counting_store),
            "out": str(tmp_path / name),
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
        return TrainConfig(**values | changes)

    return make
