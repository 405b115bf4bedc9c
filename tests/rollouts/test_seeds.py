"""Different streams share no episodes; stores from before that go on as they began."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from counting_env import CountingEnv
from counting_episodes import DISCRETE, OBSERVATIONS, assert_same_episode, counting_episode

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.overlap import shared_episodes
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.seeds import HASHED, draw_policy, episode_seed
from dreamenv.rollouts.settings import CollectSettings
from dreamenv.rollouts.store import RolloutStore, RolloutWriter

ENV = "counting_env:Counting-v0"


def gather(path: Path, frames: int = 60, **more: object) -> RolloutStore:
    assert collect(ENV, frames, "sticky", 1, path, progress=False, **more)  # type: ignore[arg-type]
    return RolloutStore(path)


def test_streams_below_2048_are_a_million_episodes_apart() -> None:
    begins = np.sort([episode_seed(stream, 0) for stream in range(2048)])
    assert np.diff(begins).min() == 2**20
    assert begins[0] + 2**31 - begins[-1] == 2**20
    # Small numbers, which people choose by hand, are far from all of them.
    assert begins[0] > 2**18 and 2**31 - begins[-1] > 2**18


@pytest.mark.parametrize("bits", [4, 16, 31])
def test_streams_of_few_bits_are_as_far_apart_as_there_is_room(bits: int) -> None:
    streams = np.random.default_rng(0).choice(2**bits, size=16, replace=False)
    begins = np.sort([episode_seed(int(stream), 0) for stream in streams])
    assert np.diff(begins).min() >= 2 ** (31 - bits)
    assert 0 <= episode_seed(int(streams[0]), 2**30) < 2**31


def test_two_stores_collected_by_default_share_no_episode(tmp_path: Path) -> None:
    one, other = gather(tmp_path / "train"), gather(tmp_path / "held_out")
    assert not set(one.seeds) & set(other.seeds)
    # Each notes its stream, goes on with it unasked, and can be made again by it.
    stream = one.metadata["collect"]["seed"]
    longer = gather(tmp_path / "train", one.num_steps + 1)
    again = gather(tmp_path / "again", one.num_steps + 1, seed=stream)
    assert longer.seeds == again.seeds
    assert longer.seeds[: one.num_episodes] == one.seeds


@pytest.mark.parametrize(
    ("stream", "begins"), [(0, 821328062), (500_000_000, 848815768), (900_000_000, 659295255)]
)
def test_seeds_of_older_stores_are_what_they_were(stream: int, begins: int) -> None:
    assert [episode_seed(stream, i, HASHED) for i in range(3)] == [begins, begins + 1, begins + 2]


def older_store(path: Path) -> None:
    """Two episodes as they were collected before streams were spread; no word of how."""
    settings = {
        "env_id": ENV,
        "policies": {"sticky": 0.7, "uniform": 0.3},
        "seed": 900_000_000,
        "env_kwargs": {},
        "max_episode_steps": 20,
        "record_info": ["count"],
    }
    env = CountingEnv()
    spaces = env.observation_space, env.action_space
    with RolloutWriter(path, ENV, *spaces, {"collect": settings}) as writer:
        for seed in (659295255, 659295256):
            spec, policy_seed = draw_policy(settings["policies"], seed)  # type: ignore[arg-type]
            episode = record_episode(env, make_policy(spec), seed, policy_seed, 20, ("count",))
            writer.append(episode)


def test_an_older_store_is_continued_exactly_as_it_began(tmp_path: Path) -> None:
    older_store(tmp_path)
    begun = RolloutStore(tmp_path)
    header = (tmp_path / "episodes.jsonl").read_text().splitlines()[0]
    mixture = {"sticky": 0.7, "uniform": 0.3}
    more = {"seed": 900_000_000, "max_episode_steps": 20, "record_info": ["count"]}
    collect(ENV, 60, mixture, 2, tmp_path, progress=False, **more)  # type: ignore[arg-type]
    store = RolloutStore(tmp_path)
    assert store.seeds == [659295255 + i for i in range(store.num_episodes)]
    assert store.num_episodes > 2
    for i in range(store.num_episodes):
        seed = 659295255 + i
        spec, policy_seed = draw_policy(mixture, seed)
        expected = record_episode(
            CountingEnv(), make_policy(spec), seed, policy_seed, 20, ("count",)
        )
        assert_same_episode(store.read(i), expected)
        if i < 2:
            assert_same_episode(begun.read(i), expected)
    assert (tmp_path / "episodes.jsonl").read_text().splitlines()[0] == header
    with pytest.raises(RolloutError, match="collected with seed = 900000000, not 1"):
        collect(ENV, 90, mixture, 1, tmp_path, progress=False, **{**more, "seed": 1})


def test_a_store_of_a_later_way_to_seed_is_refused(tmp_path: Path) -> None:
    env = CountingEnv()
    settings = CollectSettings(ENV, {"sticky": 1.0}, 4, seeds="scattered").to_plain()
    spaces = env.observation_space, env.action_space
    RolloutWriter(tmp_path, ENV, *spaces, {"collect": settings}).close()
    with pytest.raises(RolloutError, match="'scattered', which this dreamenv does not know"):
        gather(tmp_path)


def test_shared_episodes_are_counted(tmp_path: Path) -> None:
    train = gather(tmp_path / "train", seed=4)
    longer = gather(tmp_path / "longer", train.num_steps + 30, seed=4)
    others = gather(tmp_path / "held_out", seed=5)
    assert shared_episodes(train, longer) == train.num_episodes < longer.num_episodes
    assert shared_episodes(train, others) == 0
    # Another size of the environment: equal seeds begin elsewhere there.
    other_size = gather(tmp_path / "other", seed=4, env_kwargs={"length": 7})
    assert shared_episodes(train, other_size) == 0


def test_written_episodes_are_shared_if_they_are_the_same_whatever_their_seed(
    tmp_path: Path,
) -> None:
    for name, lengths in (("one", (5, 6)), ("other", (6, 7, 8))):
        with RolloutWriter(tmp_path / name, "Counting-v0", OBSERVATIONS, DISCRETE) as writer:
            for steps in lengths:
                writer.append(counting_episode(steps, seed=0))
    one, other = RolloutStore(tmp_path / "one"), RolloutStore(tmp_path / "other")
    assert shared_episodes(one, other) == 1
