"""Rollouts that were imported train like those that were collected."""

from __future__ import annotations

from pathlib import Path

import published_layouts as published
import pytest
from counting_episodes import counting_episode

from dreamenv.rollouts.importers.run import import_rollouts
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import read_config
from tests.training.conftest import small_run


@pytest.mark.usefixtures("quick")
def test_what_is_imported_trains(tmp_path: Path) -> None:
    for name, seeds in (("data", range(3)), ("held_out", range(7, 9))):
        episodes = [counting_episode(20 + seed, seed) for seed in seeds]
        source = published.memory_maze(tmp_path / "files" / name, episodes)
        import_rollouts(source, tmp_path / name, progress=False)
    held_out = str(tmp_path / "held_out")
    train_world_model(small_run(tmp_path / "run", tmp_path / "data", held_out=held_out))
    config, provenance = read_config(tmp_path / "run")
    assert provenance["env_id"] == "MemoryMaze-9x9-v0" and config.actions.n == 5
