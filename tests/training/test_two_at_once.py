"""Two trainings in one folder, or of one file of latents, do not write over each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dreamenv.core.errors import FolderInUseError
from dreamenv.core.files import UNFINISHED, replacing
from dreamenv.core.locks import hold_folder
from dreamenv.training import latents
from dreamenv.training.config import TrainConfig
from dreamenv.training.train import train_world_model
from tests.training.conftest import MakeRun


def test_the_second_training_in_a_folder_is_refused_at_once(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setattr("dreamenv.training.plan.RolloutStore", None)  # nothing is read before
    with (
        hold_folder(run.out),
        pytest.raises(FolderInUseError, match=r"another run is at work in .*: process \d+ on "),
    ):
        train_world_model(run)


def test_a_training_removes_what_a_killed_one_left(
    make_run: MakeRun, finished_run: TrainConfig, copied_run: TrainConfig, quick: None
) -> None:
    for folder in (".", "training"):
        (Path(copied_run.out) / folder / f".model.12345678{UNFINISHED}").touch()
    train_world_model(copied_run)
    assert not list(Path(copied_run.out).rglob(f".*{UNFINISHED}"))


def test_two_runs_write_one_file_of_latents_at_once(tmp_path: Path) -> None:
    cache = tmp_path / "latents.npz"
    one, other = ({"latents": np.full(1000, value)} for value in (1, 2))
    with replacing(cache) as slow:
        slow.write(b"half of")
        latents._write_cache(cache, "tag", one)
        slow.seek(0)
        np.savez(slow, tag=np.array("tag"), **other)
    found = latents._read_cache(cache, "tag")
    assert found is not None and (found["latents"] == 2).all()
    assert list(tmp_path.iterdir()) == [cache]
