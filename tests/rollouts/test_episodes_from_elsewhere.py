"""Episodes that were not recorded here are stored, trained on and dreamt without invented seeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from counting_env import CountingEnv
from counting_episodes import DISCRETE, OBSERVATIONS, assert_same_episode, counting_episode

from dreamenv.core.errors import ConfigError, EnvironmentUsageError, RolloutError
from dreamenv.dream.spawn_drawing import draw_spawns
from dreamenv.evaluation.gap.starts import choose_spawns
from dreamenv.real.replayed import SpawnedEnv
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.overlap import shared_episodes
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import describe
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.rollouts_used import require_apart


def taken(number: int, seed: int | None = None) -> Episode:
    """An episode of a data set."""
    episode = counting_episode(12, number)
    where = Provenance("mazes-of-others", f"part3/{number}.npz")
    return dataclasses.replace(episode, seed=seed, policy="", provenance=where)


def write(path: Path, *episodes: Episode, collected: bool = False) -> RolloutStore:
    metadata = {"collect": {"env_id": "Counting-v0"}} if collected else None
    with RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE, metadata) as writer:
        for episode in episodes:
            writer.append(episode)
    return RolloutStore(path)


def test_an_episode_says_where_it_is_from_and_invents_no_seed(tmp_path: Path) -> None:
    write(tmp_path / "s", taken(1), counting_episode(5, 7))
    store = write(tmp_path / "s", taken(2))  # gone on with
    assert store.seeds == [None, 7, None]
    where = Provenance("mazes-of-others", "part3/1.npz")
    assert store.provenance == [where, None, Provenance("mazes-of-others", "part3/2.npz")]
    read = store.read(0)
    assert (read.seed, read.policy, read.provenance) == (None, "", where)
    assert_same_episode(read, taken(1))
    lines = (tmp_path / "s" / "episodes.jsonl").read_text("utf-8").splitlines()
    assert "provenance" not in json.loads(lines[2]), "what was recorded here is stored as ever"
    text = describe(store)
    assert "1 different, 2 unknown" in text and "mazes-of-others" in text


def test_a_line_that_no_writer_wrote_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s", taken(1))
    path = tmp_path / "s" / "episodes.jsonl"
    header, line = path.read_text("utf-8").splitlines()
    good, plain_header = json.loads(line), json.loads(header)
    del good["check"], plain_header["check"]  # earlier versions had none
    for name, value in (("seed", "7"), ("seed", True), ("provenance", {"source": 3}),
                        ("provenance", {"place": "x"}), ("provenance", None)):  # fmt: skip
        path.write_text(f"{json.dumps(plain_header)}\n{json.dumps(good | {name: value})}\n")
        with pytest.raises(RolloutError, match="line 2 is damaged"):
            RolloutStore(tmp_path / "s")


def test_episodes_without_seeds_are_compared_by_what_they_are(tmp_path: Path) -> None:
    data = write(tmp_path / "data", taken(1), counting_episode(9, 3), collected=True)
    other = counting_episode(8, 3)
    held_out = write(tmp_path / "held_out", taken(1), taken(5), other, collected=True)
    assert shared_episodes(data, held_out) == 2  # the same one, and another of the same seed
    with pytest.raises(RolloutError, match=r"the first: episode 0, reset seed unknown\)"):
        require_apart(data, held_out)


def test_dreams_begin_there_and_the_real_environment_cannot(
    tmp_path: Path, debug_checkpoint: Path
) -> None:
    real = CountingEnv(length=12)
    with RolloutWriter(
        tmp_path / "s", "Counting-v0", real.observation_space, real.action_space
    ) as writer:
        for number in range(3):
            episode = counting_episode(12, number, real.observation_space.shape)
            writer.append(dataclasses.replace(episode, seed=None))
    spawns = draw_spawns(RolloutStore(tmp_path / "s"), 2, 4, (64, 64))
    assert [each["seed"] for each in spawns.sources] == [None, None]
    assert np.isin(spawns.actions[:, 0], -1).all()
    env = SpawnedEnv(real, spawns.sources)
    with pytest.raises(EnvironmentUsageError, match="nobody knows the reset seed"):
        env.reset(seed=0)
    with pytest.raises(ConfigError, match="episodes of unknown reset seeds"):
        choose_spawns(debug_checkpoint, 2, tmp_path / "s")
