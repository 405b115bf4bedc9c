"""Held-out measurement: every episode is read, foreign rollouts are refused, results repeat."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from PIL import Image

from dreamenv.core.errors import CheckpointError, ConfigError, RolloutError
from dreamenv.evaluation.metrics.held_out import measure_held_out
from dreamenv.evaluation.metrics.open_loop import MEAN
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.world_model.preprocessing import fit_frames
from tests.evaluation.ring_env import RingEnv

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "open_loop.py"


def measured(checkpoint: Path, rollouts: Path, **changes: Any) -> dict[str, Any]:
    return measure_held_out(
        checkpoint, rollouts, **{"clips": 5, "context": 4, "horizon": 6, "steps": (1,), **changes}
    ).to_json()


def write_store(
    path: Path, env_id: str = "Ring-v0", actions: int = 3, steps: int = 20, side: int = 32
) -> Path:
    """One episode of black frames without a reward."""
    space = Box(0, 255, (side, side, 3), np.uint8)
    with RolloutWriter(path, env_id, space, Discrete(actions)) as writer:
        last = np.arange(steps) == steps - 1
        writer.append(
            Episode(
                np.zeros((steps + 1, side, side, 3), np.uint8),
                np.zeros(steps, np.int64),
                np.zeros(steps, np.float32),
                np.zeros(steps, np.bool_),
                last,
            )
        )
    return path


def test_report_is_plain_and_complete(ring_checkpoint: Path, ring_rollouts: Path) -> None:
    report = measured(ring_checkpoint, ring_rollouts, steps=(1, 4))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    names = {"repeat last frame", "mean frame", "tokenizer reconstruction"}
    names |= {"model, K=1", "model, K=2", "model, K=4"}
    assert set(report["psnr_db"]) == set(report["ssim"]) == names
    for curves in (report["psnr_db"], report["ssim"]):
        for curve in curves.values():
            assert [len(curve[part]) for part in ("mean", "low", "high")] == [6, 6, 6]
    assert set(report["psnr_db_above"]) == {"model, K=1", "model, K=2", "model, K=4"}
    assert len(report["checkpoint"]["weights_sha256"]) == 64
    assert report["clips"]["clips"] == 5 and report["clips"]["episodes"] == 3


def test_rewards_are_read_from_every_episode(ring_checkpoint: Path, ring_rollouts: Path) -> None:
    store = RolloutStore(ring_rollouts)
    events = measured(ring_checkpoint, ring_rollouts)["reward_events"]["real_frames"]
    assert events["frames"] == store.num_steps
    assert events["events"] == store.reward_events.sum()
    interval = events["average_precision_interval"]
    assert interval["mean"] == events["average_precision"]
    assert interval["low"] <= interval["mean"] <= interval["high"]


def test_mean_frame_is_that_of_the_whole_store(ring_checkpoint: Path, ring_rollouts: Path) -> None:
    store = RolloutStore(ring_rollouts)
    frames = [store.read(i).observation for i in range(store.num_episodes)]
    mean = fit_frames(np.concatenate(frames), (16, 16)).mean(0).round() / 255
    result = measure_held_out(ring_checkpoint, ring_rollouts, 5, 4, 6)
    error = np.square(result.clips.frames[:, 4:] / 255 - mean).mean((2, 3, 4))
    np.testing.assert_allclose(result.open_loop.psnr[MEAN], -10 * np.log10(error), rtol=1e-4)


def test_the_seed_decides(ring_checkpoint: Path, ring_rollouts: Path) -> None:
    first = measured(ring_checkpoint, ring_rollouts)
    assert measured(ring_checkpoint, ring_rollouts) == first
    assert measured(ring_checkpoint, ring_rollouts, seed=1)["psnr_db"] != first["psnr_db"]


def test_rollouts_without_reward_have_no_average_precision(
    ring_checkpoint: Path, tmp_path: Path
) -> None:
    report = measured(ring_checkpoint, write_store(tmp_path / "s"))
    events = report["reward_events"]["real_frames"]
    assert (events["events"], events["average_precision"], events["recall"]) == (0, None, None)
    assert report["psnr_db"]["mean frame"]["low"] is None, "one episode has no interval"


def test_foreign_rollouts_are_refused(ring_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="rollouts of Other-v0, but the model dreams Ring-v0"):
        measured(ring_checkpoint, write_store(tmp_path / "env", env_id="Other-v0"))
    with pytest.raises(RolloutError, match=r"actions from Discrete\(4\)"):
        measured(ring_checkpoint, write_store(tmp_path / "actions", actions=4))
    with pytest.raises(RolloutError, match="none of 1 episodes has 10 frames"):
        measured(ring_checkpoint, write_store(tmp_path / "short", steps=5))
    with pytest.raises(RolloutError):
        measured(ring_checkpoint, tmp_path / "absent")
    with pytest.raises(CheckpointError, match="holds no world model"):
        measured(tmp_path / "absent", tmp_path / "env")


def test_gray_rollouts_of_a_colour_model_are_refused(ring_checkpoint: Path, tmp_path: Path) -> None:
    env = RingEnv()
    space = Box(0, 255, (32, 32, 1), np.uint8)
    with RolloutWriter(tmp_path / "s", "Ring-v0", space, env.action_space):
        pass
    with pytest.raises(RolloutError, match="frames of 1 channels"):
        measured(ring_checkpoint, tmp_path / "s")


@pytest.mark.parametrize(
    "changes", [{"clips": 0}, {"steps": (0,)}, {"horizon": 0}, {"dtype": "int8"}]
)
def test_impossible_arguments(
    ring_checkpoint: Path, ring_rollouts: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        measured(ring_checkpoint, ring_rollouts, **changes)


def test_benchmark_writes_numbers_and_a_picture(
    ring_checkpoint: Path,
    ring_rollouts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, picture = tmp_path / "open_loop.json", tmp_path / "strip.png"
    arguments = ["--checkpoint", str(ring_checkpoint), "--rollouts", str(ring_rollouts)]
    arguments += ["--clips", "4", "--steps", "1", "--out", str(out), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["open_loop.py", *arguments])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(BENCHMARK), run_name="__main__")
    result = json.loads(out.read_text())
    assert result["command"].startswith("python -m benchmarks.open_loop --checkpoint")
    assert result["clips"]["context"] == 32 and len(result["psnr_db"]["mean frame"]["mean"]) == 16
    assert "average precision" in capsys.readouterr().out
    with Image.open(picture) as image:
        assert image.format == "PNG"
    monkeypatch.setattr(sys, "argv", ["open_loop.py", "--rollouts", "absent", *arguments[:2]])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(BENCHMARK), run_name="__main__")
