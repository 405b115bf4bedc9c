"""Where dreams begin: cut from real rollouts, stored with the weights, refused if unfit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_env import CountingEnv, step_of

from dreamenv.core.errors import CheckpointError, ConfigError, RolloutError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.spawn_drawing import draw_spawns, save_spawns, spawn_length
from dreamenv.dream.spawns import load_spawns
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from tests.conftest import save_debug_checkpoint, write_counting_store

LENGTH = 6


def test_a_spawn_is_a_stretch_of_a_real_episode_in_model_time(counting_store: Path) -> None:
    store = RolloutStore(counting_store)
    spawns = draw_spawns(store, 10, LENGTH, (8, 8))
    assert len(spawns) == 10 and spawns.frames.shape == (10, LENGTH, 8, 8, 3)
    for i, source in enumerate(spawns.sources):
        assert source["seed"] == i % store.num_episodes  # evenly over the episodes
        assert source["policy"] == "uniform"
        start = source["start"]
        assert [step_of(f) for f in spawns.frames[i]] == list(range(start, start + LENGTH))
        episode = store.read(source["seed"])
        assert spawns.actions[i, 0] == -1  # memory begins here: no action led to this frame
        taken = episode.action[start : start + LENGTH - 1]
        assert spawns.actions[i, 1:].tolist() == taken.tolist()
    assert len({source["start"] for source in spawns.sources}) > 3


def test_the_last_possible_stretch_leaves_a_frame_to_go_on_to(tmp_path: Path) -> None:
    """Where an episode ended nothing can begin, in neither world."""
    store = RolloutStore(write_counting_store(tmp_path / "store", episodes=1, steps=LENGTH + 1))
    spawns = draw_spawns(store, 30, LENGTH, (8, 8))
    assert {source["start"] for source in spawns.sources} == {0, 1}
    assert max(step_of(frames[-1]) for frames in spawns.frames) == LENGTH
    with pytest.raises(RolloutError, match="has the 8 frames of a spawn and one to go on to; the"):
        draw_spawns(store, 1, LENGTH + 2, (8, 8))


def test_spawns_are_as_long_as_half_of_the_episodes_allow(tmp_path: Path) -> None:
    path = write_counting_store(tmp_path / "store", episodes=1, steps=LENGTH)
    store = RolloutStore(write_counting_store(path, episodes=2, steps=2))
    assert spawn_length(store, 32) == 2  # of three frames
    store = RolloutStore(write_counting_store(path, episodes=1, steps=LENGTH))
    assert spawn_length(store, 32) == LENGTH and spawn_length(store, 3) == 3
    assert draw_spawns(store, 8, LENGTH, (8, 8)).frames.shape[1] == LENGTH


def test_continuous_actions_begin_with_nan(box_store: Path) -> None:
    spawns = draw_spawns(RolloutStore(box_store), 3, LENGTH, (8, 8))
    assert spawns.actions.shape == (3, LENGTH, 3) and spawns.actions.dtype == np.float32
    assert np.isnan(spawns.actions[:, 0]).all() and np.isfinite(spawns.actions[:, 1:]).all()


@pytest.mark.parametrize("continuous", [False, True])
def test_the_real_environment_is_brought_to_a_spawn_by_its_seed_and_actions(
    tmp_path: Path, continuous: bool
) -> None:
    path = write_counting_store(tmp_path / "store", steps=20, continuous=continuous)
    store = RolloutStore(path)
    spawns = draw_spawns(store, 6, LENGTH, (8, 8))
    env = CountingEnv(length=20, continuous=continuous)
    for i, source in enumerate(json.loads(json.dumps(spawns.sources))):
        frame, _ = env.reset(seed=source["seed"])
        for action in source["actions"]:
            frame, *_ = env.step(np.asarray(action, store.action_space.dtype))
        assert np.array_equal(frame, spawns.frames[i, -1])
        taken = store.read(source["seed"]).action[: len(source["actions"])]
        assert np.array_equal(np.asarray(source["actions"], taken.dtype), taken)


def write_sparse_store(path: Path, arrivals: dict[int, list[int]], steps: int = 60) -> RolloutStore:
    """Counting episodes; that of seed s has rewards on arriving at the frames `arrivals[s]`."""
    source = RolloutStore(write_counting_store(path / "dense", len(arrivals), steps))
    spaces = source.observation_space, source.action_space
    with RolloutWriter(path / "sparse", "Counting-v0", *spaces) as writer:
        for seed, frames in arrivals.items():
            episode = source.read(seed)
            episode.reward[:] = 0
            episode.reward[np.array(frames, int) - 1] = 1
            writer.append(episode)
    return RolloutStore(path / "sparse")


def test_the_wanted_share_of_spawns_ends_shortly_before_a_reward(tmp_path: Path) -> None:
    arrivals = {0: [50, 57], 1: [], 2: [12], 3: [7]}  # 7: too early for six frames and 4 steps
    store = write_sparse_store(tmp_path, arrivals)
    spawns = draw_spawns(store, 200, LENGTH, (8, 8), near_rewards=0.6)
    near = [s for s in spawns.sources if s["near_reward"] is not None]
    assert len(near) == 120 and {s["seed"] for s in near} == {0, 2}
    assert sum(s["seed"] == 0 for s in near) == 60  # evenly over episodes
    for source in near:
        last = len(source["actions"])
        upcoming = min(frame for frame in arrivals[source["seed"]] if frame > last)
        assert source["near_reward"] == upcoming - last
    found = {s["near_reward"] for s in near if s["seed"] == 0}
    assert (min(found), max(found)) == (4, 24)
    others = [s for s in spawns.sources if s["near_reward"] is None]
    assert {s["seed"] for s in others} == {0, 1, 2, 3}
    gaps = np.diff([i for i, s in enumerate(spawns.sources) if s["near_reward"] is not None])
    assert gaps.max() <= 2  # spread over the spawns, so that the first few are no special ones


def test_no_reward_to_begin_near_is_said(tmp_path: Path) -> None:
    store = write_sparse_store(tmp_path, {0: [7], 1: []})
    with pytest.raises(RolloutError, match="no reward in .* 4 to 24 steps after .* near_rewards"):
        draw_spawns(store, 4, LENGTH, (8, 8), near_rewards=0.5)
    assert len(draw_spawns(store, 4, LENGTH, (8, 8))) == 4


def test_spawns_that_begin_early(tmp_path: Path) -> None:
    store = write_sparse_store(tmp_path, {0: [14, 40], 1: [55]})
    spawns = draw_spawns(store, 60, LENGTH, (8, 8), near_rewards=0.5, latest_start=3)
    starts = [source["start"] for source in spawns.sources]
    assert set(starts) == {0, 1, 2, 3}
    assert {s["seed"] for s in spawns.sources if s["near_reward"]} == {0}
    with pytest.raises(RolloutError, match="begins at step 0 or before"):
        late = write_sparse_store(tmp_path / "late", {0: [55]})
        draw_spawns(late, 4, LENGTH, (8, 8), near_rewards=0.5, latest_start=0)
    with pytest.raises(ConfigError, match="latest_start must be at least 0, not -1"):
        draw_spawns(store, 4, LENGTH, (8, 8), latest_start=-1)


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"length": 0}, {"near_rewards": 1.1}, {"near_rewards": -0.1}]
)
def test_impossible_draws_are_refused(counting_store: Path, wrong: dict[str, Any]) -> None:
    arguments = {"count": 2, "length": LENGTH, "size": (8, 8)} | wrong
    with pytest.raises(ConfigError, match="at least 1 and near_rewards in 0 … 1"):
        draw_spawns(RolloutStore(counting_store), **arguments)


def test_spawns_stored_without_actions_still_dream(debug_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(debug_checkpoint, tmp_path / "copy")
    with np.load(folder / "spawns.npz") as stored:
        arrays = dict(stored)
    old = [
        {k: s[k] for k in ("seed", "policy", "start")} for s in json.loads(str(arrays["sources"]))
    ]
    np.savez(folder / "spawns.npz", **(arrays | {"sources": np.array(json.dumps(old))}))
    assert load_spawns(folder).sources == old
    DreamEnv(folder).reset(seed=0)


def test_what_is_saved_comes_back(debug_checkpoint: Path, counting_store: Path) -> None:
    spawns = load_spawns(debug_checkpoint)
    expected = draw_spawns(RolloutStore(counting_store), 8, LENGTH, (64, 64))
    assert np.array_equal(spawns.frames, expected.frames)
    assert np.array_equal(spawns.actions, expected.actions)
    assert spawns.sources == expected.sources


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def small_frames(path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **(arrays | {"frames": arrays["frames"][:, :, :32]}))


def other_actions(path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **(arrays | {"actions": arrays["actions"] + 5}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "has no spawns.npz.*save_spawns"),
        (truncate, "is damaged.*copy the checkpoint again"),
        (lambda p: p.write_bytes(b"PK no zip"), "is damaged"),
        (lambda p: np.savez(p, frames=np.zeros(3)), "is damaged"),
        (small_frames, "does not fit the world model"),
        (other_actions, "does not fit the world model"),
    ],
)
def test_broken_spawns_are_named_when_the_dream_is_made(
    debug_checkpoint: Path, tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    folder = shutil.copytree(debug_checkpoint, tmp_path / "copy")
    harm(folder / "spawns.npz")
    with pytest.raises(CheckpointError, match=message):
        DreamEnv(folder)


def test_rollouts_of_something_else_are_refused(
    debug_checkpoint: Path, box_store: Path, tmp_path: Path, counting_store: Path
) -> None:
    folder = shutil.copytree(debug_checkpoint, tmp_path / "copy")
    before = (folder / "spawns.npz").read_bytes()
    with pytest.raises(RolloutError, match="action space Box.*was made for ActionConfig"):
        save_spawns(folder, box_store, 2, LENGTH)
    source = RolloutStore(counting_store)
    with RolloutWriter(
        tmp_path / "other", "Other-v0", source.observation_space, source.action_space
    ) as writer:
        writer.append(source.read(0))
    with pytest.raises(RolloutError, match="holds Other-v0, but .* learned Counting-v0"):
        save_spawns(folder, tmp_path / "other", 2, LENGTH)
    with pytest.raises(RolloutError, match="100 frames of a spawn and one to go on to"):
        save_spawns(folder, counting_store, 2, 100)
    assert (folder / "spawns.npz").read_bytes() == before


def test_spawns_of_a_box_model_dream(tmp_path: Path, box_store: Path) -> None:
    env = DreamEnv(save_debug_checkpoint(tmp_path / "model", box_store), dtype="float32")
    env.reset(seed=0)
    one, *_ = env.step(np.array([-1, 0, 2], np.float32))
    env.reset(seed=0)
    other, *_ = env.step(np.array([2, 0, -1], np.float32))
    assert not np.array_equal(one, other)
