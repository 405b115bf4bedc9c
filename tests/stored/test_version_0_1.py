"""What version 0.1 left behind is still read, and gives what it gave then.

`version_0_1/` was written by its code, at commit 28bce24: a rollout store of the counting
environment, what that code read from it (`store.npz`), an untrained checkpoint, and dreams of it in
float32 without compiled kernels (`dream.npz`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import dreamenv
from tests.conftest import write_counting_store

STORED = Path(__file__).parent / "version_0_1"
ROUNDING = 1
"""Grey levels by which another processor's order of sums may move a pixel."""


def test_a_checkpoint_dreams_what_it_dreamt() -> None:
    with np.load(STORED / "dream.npz") as stored:
        then = dict(stored)
    env = gymnasium.make("DreamEnv-v0", checkpoint=STORED / "checkpoint", dtype="float32")
    frames, rewards = [env.reset(seed=3)[0]], []
    for action in then["actions"]:
        frame, reward, *_ = env.step(int(action))
        frames.append(frame)
        rewards.append(reward)
    assert differs(np.stack(frames), then["frames"]) <= ROUNDING
    assert rewards == then["rewards"].tolist()


def test_a_batch_of_dreams_is_what_it_was() -> None:
    with np.load(STORED / "dream.npz") as stored:
        then = dict(stored)
    with pytest.warns(DeprecationWarning, match="'steps' is called 'denoising_steps' now"):
        envs = gymnasium.make_vec(
            "DreamEnv-v0", 3, checkpoint=STORED / "checkpoint", dtype="float32", steps=2
        )
    frames = [envs.reset(seed=[5, 6, 7])[0]]
    frames += [envs.step(actions)[0] for actions in then["vector_actions"]]
    assert differs(np.stack(frames), then["vector"]) <= ROUNDING


def differs(now: np.ndarray, then: np.ndarray) -> int:
    return int(np.abs(now.astype(np.int16) - then).max())


def test_a_rollout_store_is_read_and_continued(tmp_path: Path) -> None:
    shutil.copytree(STORED / "store", tmp_path / "store")
    store = dreamenv.RolloutStore(tmp_path / "store")
    with np.load(STORED / "store.npz") as then:
        for name, value in then.items():
            field, _, episode = name.partition("_")
            np.testing.assert_array_equal(getattr(store.read(int(episode)), field), value)
    write_counting_store(tmp_path / "store", episodes=1, steps=12)
    longer = dreamenv.RolloutStore(tmp_path / "store")
    assert longer.num_episodes == store.num_episodes + 1
    np.testing.assert_array_equal(longer.read(0).observation, store.read(0).observation)
