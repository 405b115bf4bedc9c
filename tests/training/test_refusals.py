"""What cannot be trained is refused with the reason, before anything is trained or written."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from dreamenv.core.errors import CheckpointError, ConfigError, DreamEnvError, RolloutError
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.loop import Stage
from dreamenv.training.train import train_world_model
from dreamenv.world_model.objective import ObjectiveConfig
from tests.conftest import apart_from, write_counting_store
from tests.training.conftest import MakeRun


@pytest.fixture(autouse=True)
def nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at the first update."""

    def update(self: Stage, *_: Any) -> None:
        raise AssertionError(f"{self.name} began to train")

    monkeypatch.setattr(Stage, "_update", update)


def refused(make_run: MakeRun, error: type[DreamEnvError], message: str, **changes: Any) -> None:
    """Training with these changes raises, and leaves no run folder."""
    with pytest.raises(error, match=message):
        train_world_model(make_run(**changes))
    assert not Path(make_run().out).exists()


def dynamics(**changes: Any) -> dict[str, Any]:
    return {"dynamics": changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments": 4}, "window of 6 frames does not fall into 4 equal segments of at least 2"),
        ({"segments": 6}, "window of 6 frames does not fall into 6 equal segments of at least 2"),
        ({"segments": 0}, "does not fall into 0 equal"),
        ({"window_from": 1}, "window_from is from 2 to window"),
        ({"window_from": 7}, "window_from is from 2 to window"),
        (
            {"window": 8, "window_from": 7, "segments": 4},
            "7 frames, which do not fall into 3 equal",
        ),
        ({"window": 12, "window_from": 5, "segments": 4}, "grows to 10 frames, which do not fall"),
        ({"window_growth": 1.5}, "window_growth is a share"),
        ({"state_reset": 0.1}, "state_reset happens between segments; set segments above 1"),
        ({"state_reset": -0.1, "segments": 2}, "state_reset is a share"),
        ({"stride": 2}, "stride and retrace .* actions; they need conditioning pose"),
        ({"retrace": 0.5}, "stride and retrace .* actions; they need conditioning pose"),
        ({"stride": 0, "conditioning": "pose"}, "stride is at least 1"),
        ({"retrace": 2.0, "conditioning": "pose"}, "retrace is a share"),
        (
            {"retrace": 0.5, "conditioning": "pose", "window": 7},
            "retraced window even: 1, window 7",
        ),
        (
            {"retrace": 0.5, "conditioning": "pose", "window_from": 3},
            "retraced window even: 1, window 6, window_from 3",
        ),
    ],
)
def test_windows_that_cannot_be_cut(
    changes: dict[str, Any], message: str, make_run: MakeRun
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_run(**changes)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (dynamics(scan_blocks=[[3, 1]]), r"block \(3, 1\) does not tile the 4×4 token grid"),
        (
            dynamics(patch=2, scan_blocks=[[4, 4]]),
            r"block \(4, 4\) does not tile the 2×2 token grid",
        ),
        (dynamics(patch=3), "patch 3 does not tile the 4×4 latents"),
        (dynamics(scan="spiral"), "dynamics.scan is one of block, frame, none, not 'spiral'"),
        (dynamics(attention="global"), "dynamics.attention is one of window, full, bidir"),
        (dynamics(attention="bidirectional"), "a scan cannot: set dynamics.scan none"),
        (dynamics(scan="none", attention="none"), "nothing would remember"),
        (dynamics(attention_window=6), "6 frames before needs training windows of more than that"),
        (dynamics(scan="none", attention="bidirectional", attention_window=6), "not 6: raise wind"),
        (dynamics(widht=3), "DynamicsConfig has no field 'widht'; it has"),
        ({"dynamic": {}}, "WorldModelConfig has no field 'dynamic'"),
        ({"dynamics": 3}, "expected DynamicsConfig, got 3"),
        (dynamics(width="wide"), "expected int, got 'wide'"),
        ({"dynamics": {"width": {1, 2}}}, "architecture is no JSON"),
        ([1], "must be a mapping or a JSON object"),
        ({"actions": {"n": 3}}, "architecture cannot set actions: the rollouts"),
        ({"conditioning": "pose"}, "architecture cannot set conditioning"),
        ({"frame_channels": 1}, "architecture cannot set frame_channels"),
        ({"rewards": {"exact": True}}, "architecture cannot set rewards"),
    ],
)
def test_architectures_that_cannot_be_built(
    architecture: Any, message: str, make_run: MakeRun
) -> None:
    refused(make_run, ConfigError, message, architecture=architecture)


def test_windows_that_do_not_fit_what_attention_sees(make_run: MakeRun) -> None:
    """Also in a segment, and where the windows of the two-way baseline begin short."""
    refused(make_run, ConfigError, "not 3: raise window", segments=2)
    both_ways = dynamics(scan="none", attention="bidirectional")
    refused(make_run, ConfigError, "not 3: raise window", window_from=3, architecture=both_ways)
    narrow = dynamics(scan="none", attention="bidirectional", attention_window=1)
    refused(make_run, ConfigError, "hands no memory on", segments=2, architecture=narrow)


def test_conditioning_and_its_poses(
    make_run: MakeRun, pose_store: Path, counting_store: Path
) -> None:
    pose: dict[str, Any] = {"conditioning": "pose"}
    message = "holds no info 'agent_pos', so poses are unknown; it has .*: collect from"
    refused(make_run, RolloutError, message, **pose)
    other = {"held_out": str(apart_from(counting_store))}
    refused(make_run, RolloutError, message, data=str(pose_store), **other, **pose)
    refused(make_run, RolloutError, message, held_out=str(apart_from(pose_store)), **pose)
    both: dict[str, Any] = {**pose, "data": str(pose_store)}
    refused(make_run, RolloutError, "no info 'agent_dri'", pose="agent_pos,agent_dri", **both)
    refused(make_run, RolloutError, "no info ''", pose="", **both)
    refused(make_run, ConfigError, "conditioning is one of action, pose", conditioning="place")


def test_poses_in_some_episodes_only(make_run: MakeRun, tmp_path: Path, pose_store: Path) -> None:
    source = RolloutStore(pose_store)
    with RolloutWriter(
        tmp_path / "s", source.env_id, source.observation_space, source.action_space
    ) as writer:
        writer.append(source.read(0))
        writer.append(dataclasses.replace(source.read(1), info={}))
    store = str(tmp_path / "s")
    refused(
        make_run, RolloutError, "holds no info 'agent_pos'",
        conditioning="pose", data=store,
    )  # fmt: skip


def test_strides_longer_than_any_episode(make_run: MakeRun, pose_store: Path) -> None:
    pose: dict[str, Any] = {
        "conditioning": "pose",
        "data": str(pose_store),
    }
    refused(make_run, RolloutError, "none of 3 episodes has 63 frames", stride=62, **pose)
    refused(make_run, RolloutError, "none of 3 episodes has 62 frames", stride=61, **pose)


def test_tokenizers_that_are_none(
    make_run: MakeRun, tmp_path: Path, debug_checkpoint: Path, counting_store: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    missing = "holds no world model .*train one with"
    refused(make_run, CheckpointError, missing, tokenizer_from=str(empty))
    refused(make_run, CheckpointError, "holds no world", tokenizer_from=str(counting_store))
    unknown = "bundles no world model 'atari'; it has .*memory_maze"
    refused(make_run, CheckpointError, unknown, tokenizer_from="bundled:atari")
    copy = shutil.copytree(debug_checkpoint, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:999])
    refused(make_run, CheckpointError, "damaged or cut short", tokenizer_from=str(copy))
    weights.unlink()
    refused(make_run, CheckpointError, "has no model.safetensors", tokenizer_from=str(copy))
    (copy / "config.json").write_text("{}")
    refused(make_run, CheckpointError, "not written by this", tokenizer_from=str(copy))


def test_a_tokenizer_of_other_frames(
    make_run: MakeRun, tmp_path: Path, debug_checkpoint: Path
) -> None:
    grey = str(write_counting_store(tmp_path / "grey", channels=1))
    refused(
        make_run, ConfigError, "is for frames of 3 channels, those of .*grey have 1",
        data=grey, tokenizer_from=str(debug_checkpoint),
    )  # fmt: skip


@pytest.mark.parametrize("scheme", ["teacher", ""])
def test_objectives_that_are_none(scheme: str) -> None:
    with pytest.raises(ConfigError, match="unknown scheme .*there are diffusion_forcing, clean"):
        ObjectiveConfig(scheme=scheme)


def test_a_run_is_not_continued_as_another_model(
    make_run: MakeRun, pose_store: Path, debug_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the weights would fit: other blocks, another tokenizer, other poses."""
    pose: dict[str, Any] = {
        "conditioning": "pose", "data": str(pose_store)
    }  # fmt: skip
    for stage in ("train_tokenizer", "train_dynamics"):
        monkeypatch.setattr(f"dreamenv.training.train.{stage}", lambda *_: None)
    train_world_model(make_run(**pose))
    before = Path(make_run().out, "train_config.json").read_bytes()
    changes: dict[str, Any] = {
        "architecture": dynamics(scan_blocks=[[1, 1], [2, 2]]),
        "tokenizer_from": str(debug_checkpoint),
        "conditioning": "action",
        "pose": "agent_dir,agent_pos",
    }
    for name, value in changes.items():
        with pytest.raises(ConfigError, match=f"was begun with {name} .*; repeat that to continue"):
            train_world_model(make_run(**{**pose, name: value}))
    assert Path(make_run().out, "train_config.json").read_bytes() == before
    train_world_model(make_run(**pose))
