"""Where episodes begin: spawns by number, the caller's own frames, rollouts; and bad requests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamenv.core.errors import CheckpointError, ConfigError, EnvironmentUsageError, RolloutError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.reset_options import read_options
from dreamenv.dream.spawn_drawing import draw_spawns
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.config import ActionConfig, DynamicsConfig, WorldModelConfig
from tests.conftest import save_debug_checkpoint
from tests.dream.counting_dream import ACTIONS, SIZE, SPAWNS, PlainDream, install, shown

BAD = EnvironmentUsageError
FRAMES = np.zeros((4, *SIZE, 3), np.uint8)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this test count."""
    install(monkeypatch)


def marked(*numbers: int, length: int = 4) -> np.ndarray:
    """Contexts of blank frames of which the last shows a number, (n, length, H, W, C)."""
    frames = np.zeros((len(numbers), length, *SIZE, 3), np.uint8)
    frames[:, -1, 0, 1, 0] = numbers
    return frames


def test_spawns_by_number(counting: None) -> None:
    env = DreamVectorEnv(3)
    observations, info = env.reset(seed=0, options={"spawn": [4, 9, 4]})
    assert [shown(o) for o in observations] == [(0, 4), (0, 9), (0, 4)]
    assert info["spawn"].tolist() == [4, 9, 4]
    assert env.source() == ({"seed": 104}, {"seed": 109}, {"seed": 104})
    mask = np.array([True, False, True])
    observations, info = env.reset(options={"spawn": 2, "reset_mask": mask})
    assert [shown(o) for o in observations] == [(0, 2), (0, 9), (0, 2)]
    assert info["_spawn"].tolist() == mask.tolist()
    assert env.source() == ({"seed": 102}, {"seed": 109}, {"seed": 102})
    single = DreamEnv()
    assert shown(single.reset(options={"spawn": np.int64(7)})[0]) == (0, 7)


def test_a_chosen_spawn_leaves_the_generator_alone(counting: None) -> None:
    env = DreamVectorEnv(1)
    env.reset(seed=5, options={"spawn": 3})
    assert shown(env.reset()[0][0]) == (0, PlainDream(5, 9).spawn)


def test_contexts_of_the_caller(counting: None) -> None:
    """One for each slot, of another length than the spawns; then one for all."""
    env = DreamVectorEnv(3, observation="memory")
    actions = np.ones((3, 3), np.int64)
    observations, info = env.reset(options={"context": marked(50, 51, 52), "actions": actions})
    assert [shown(o) for o in observations["frame"]] == [(0, 50), (0, 51), (0, 52)]
    assert observations["memory"].tolist() == [[0, 50, 4], [0, 51, 4], [0, 52, 4]]
    assert info["spawn"].tolist() == [-1] * 3 and env.source() == (None, None, None)
    observations, *_ = env.step(np.zeros(3, np.int64))
    assert [shown(o) for o in observations["frame"]] == [(1, 50), (1, 51), (1, 52)]
    mask = np.array([False, True, True])
    one = {"context": marked(60, length=1)[0], "reset_mask": mask}
    observations, info = env.reset(options=one)
    assert observations["memory"].tolist() == [[1, 50, 5], [0, 60, 1], [0, 60, 1]]
    assert info["_spawn"].tolist() == mask.tolist()
    _, info = DreamEnv().reset(options={"context": FRAMES, "actions": [0, 1, 2]})
    assert info == {"spawn": -1, "uncertainty": 0.0, "trust": 1.0}


def test_a_context_dreams_like_the_spawn_with_the_same_frames(debug_checkpoint: Path) -> None:
    env = DreamVectorEnv(2, debug_checkpoint, dtype="float32")
    spawns = env.spawns
    first, _ = env.reset(seed=0, options={"spawn": 3})
    dreamt = env.step(np.array([1, 2]))[:2]
    context = {"context": spawns.frames[3], "actions": spawns.actions[3, 1:]}
    again, _ = env.reset(seed=0, options=context)
    assert np.array_equal(first, again)
    assert all(map(np.array_equal, dreamt, env.step(np.array([1, 2]))[:2]))
    turned = {**context, "actions": 4 - spawns.actions[3, 1:]}
    env.reset(seed=0, options=turned)
    assert not np.array_equal(dreamt[0], env.step(np.array([1, 2]))[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spawn": SPAWNS}, f"an integer in 0 … {SPAWNS - 1}, or 2 of them, got 10"),
        ({"spawn": -1}, "an integer in 0"),
        ({"spawn": 1.0}, "an integer in 0"),
        ({"spawn": [1, 2, 3]}, "an integer in 0 … 9, or 2 of them"),
        ({"spawn": None, "actions": [0]}, "'actions' needs 'context'"),
        ({"spawn": 1, "context": FRAMES, "actions": [0] * 3}, "not both"),
        ({"context": FRAMES}, r"needs the actions between them, integers of shape \(3,\), got no"),
        ({"context": FRAMES, "actions": [0] * 4}, r"shape \(3,\), got int64 \(4,\)"),
        ({"context": FRAMES, "actions": [0.0] * 3}, r"shape \(3,\), got float64"),
        ({"context": FRAMES, "actions": [0, ACTIONS, 1]}, r"must be in 0 … 3, got \[4\]"),
        ({"context": FRAMES, "actions": [0, -1, 1]}, r"must be in 0 … 3, got \[-1\]"),
        ({"context": np.stack([FRAMES] * 2), "actions": [0] * 3}, r"shape \(2, 3\)"),
        ({"context": np.stack([FRAMES] * 3)}, r"\(t, 16, 16, 3\) or \(2, t, 16, 16, 3\)"),
        ({"context": FRAMES[:0]}, "with t ≥ 1"),
        ({"context": FRAMES[0]}, "context must be uint8 frames"),
        ({"context": FRAMES / 255}, "got float64"),
        ({"context": FRAMES[:, :8]}, r"got uint8 \(4, 8, 16, 3\).*fit_frames resizes"),
        ({"context": FRAMES.transpose(0, 3, 1, 2)}, r"got uint8 \(4, 3, 16, 16\)"),
    ],
)
def test_impossible_beginnings_change_nothing(
    counting: None, options: dict[str, Any], message: str
) -> None:
    env = DreamVectorEnv(2)
    env.reset(seed=0)
    with pytest.raises(BAD, match=message):
        env.reset(seed=8, options=options)
    assert [shown(o)[0] for o in env.step(np.zeros(2, np.int64))[0]] == [1, 1]
    first = [PlainDream(i, 9) for i in range(2)]
    for plain in first:
        plain.step(0)
    assert [shown(o) for o in env.reset()[0]] == [plain.begin() for plain in first]


def test_contexts_under_continuous_actions(tmp_path: Path, box_store: Path) -> None:
    env = DreamEnv(save_debug_checkpoint(tmp_path / "model", box_store), dtype="float32")
    frames = env.vector.spawns.frames[0]
    actions = np.zeros((len(frames) - 1, 3))
    env.reset(seed=0, options={"context": frames, "actions": actions})
    one = env.step(np.zeros(3, np.float32))[0]
    env.reset(seed=0, options={"context": frames, "actions": actions + 1})
    assert not np.array_equal(one, env.step(np.zeros(3, np.float32))[0])
    with pytest.raises(BAD, match="must be finite"):
        env.reset(options={"context": frames, "actions": actions * np.nan})
    with pytest.raises(BAD, match=r"numbers of shape \(5, 3\), got int64 \(5,\)"):
        env.reset(options={"context": frames, "actions": [0] * 5})


def test_dreams_begin_from_rollouts(
    debug_checkpoint: Path, counting_store: Path, tmp_path: Path
) -> None:
    """Also where the checkpoint has no spawns of its own."""
    bare = shutil.copytree(debug_checkpoint, tmp_path / "bare")
    (bare / "spawns.npz").unlink()
    with pytest.raises(CheckpointError, match="has no spawns"):
        DreamEnv(bare)
    made = DreamVectorEnv.from_rollouts(counting_store, bare, 5, 9, seed=3, num_envs=2, horizon=4)
    expected = draw_spawns(RolloutStore(counting_store), 5, 9, (64, 64), seed=3)
    assert np.array_equal(made.spawns.frames, expected.frames) and made.horizon == 4
    observations, info = made.reset(seed=0)
    assert np.array_equal(observations, expected.frames[info["spawn"], -1])
    assert made.source() == tuple(expected.sources[spawn] for spawn in info["spawn"])
    single = DreamEnv.from_rollouts(counting_store, bare, count=5, length=9, seed=3, horizon=4)
    assert np.array_equal(single.vector.spawns.frames, expected.frames)
    assert isinstance(single, DreamEnv) and single.vector.horizon == 4


def test_rollouts_that_do_not_fit(debug_checkpoint: Path, box_store: Path) -> None:
    with pytest.raises(RolloutError, match="action space"):
        DreamEnv.from_rollouts(box_store, debug_checkpoint)
    small = Spawns(np.zeros((1, 2, 8, 8, 3), np.uint8), np.zeros((1, 2), np.int64), [{}])
    with pytest.raises(ConfigError, match=r"frames are \(8, 8, 3\), the model's \(64, 64, 3\)"):
        DreamEnv(debug_checkpoint, spawns=small)


def test_poses_stand_where_actions_do() -> None:
    """A pose belongs to a frame: a context of t frames has t of them."""
    config = WorldModelConfig(
        frame_size=SIZE,
        actions=ActionConfig(low=(0.0,) * 4, high=(9.0,) * 4),
        dynamics=DynamicsConfig(scan_blocks=((1, 1),)),
        conditioning="pose",
    )
    poses = np.ones((4, 4), np.float32)
    options = {"context": FRAMES, "actions": poses}
    context = read_options(options, 1, Spawns(FRAMES[None], poses[None], [{}]), config).context
    assert context is not None and np.array_equal(context.actions, poses[None])
    with pytest.raises(BAD, match=r"needs the poses, numbers of shape \(4, 4\)"):
        read_options({**options, "actions": poses[1:]}, 1, context, config)


def test_what_was_watched_is_told_apart(debug_checkpoint: Path) -> None:
    """More slots than spawns: each spawn is watched once, and every slot gets its own."""
    env = DreamVectorEnv(12, debug_checkpoint, dtype="float32", observation="memory")
    together, info = env.reset(seed=0)
    for i in (0, 5, 11):
        alone = DreamVectorEnv(1, debug_checkpoint, dtype="float32", observation="memory")
        observation, _ = alone.reset(options={"spawn": int(info["spawn"][i])})
        assert np.array_equal(observation["frame"][0], together["frame"][i])
        assert np.allclose(observation["memory"][0], together["memory"][i], atol=1e-4)
    kinds = len(torch.unique(env.get_state().memory.latents[:, 0, 0]))
    assert kinds == len(set(info["spawn"].tolist())) < 12
