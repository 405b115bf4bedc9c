"""Episodes on disk, agents' names, and playing in the real environment from a spawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.gap.agents import _labels
from dreamenv.evaluation.gap.episodes import EpisodeCache, Episodes, join_episodes
from dreamenv.evaluation.gap.real_player import Part, RealPlayer, Visit, WholeEpisode
from dreamenv.evaluation.gap.real_world import RealWorld
from dreamenv.evaluation.gap.transfer import Contender, Transfer
from tests.evaluation.ring_env import (
    PLACES,
    RingEnv,
    add_walkers,
    frame_of,
    place_of,
    reward_of,
)

SIZE, HORIZON = (PLACES, PLACES), 20
SOURCE = {"seed": 3, "actions": [1, 2, 0, 2], "start": 0}


def episodes(value: float = 1.0) -> Episodes:
    return Episodes(
        np.full((2, 3), value),
        np.arange(6).reshape(2, 3),
        np.array([3, 1]),
        np.zeros((2, 1, 4, 4, 3), np.uint8),
        np.full((2, 3), np.nan),
    )


def world(real_id: str = "Ring-v0", **kwargs: Any) -> RealWorld:
    return RealWorld(gymnasium.spec(real_id), kwargs, "none", "none", SIZE, HORIZON, 0.0)


def spawn_place() -> int:
    """Where the ring's light is at the spawn, by hand."""
    env = RingEnv()
    env.reset(seed=SOURCE["seed"])
    return (env.place + sum(SOURCE["actions"])) % PLACES


def visit(*parts: Part, place: int | None = None) -> Visit:
    return Visit(7, SOURCE, frame_of(spawn_place() if place is None else place, 1), list(parts))


def test_episodes_come_back_from_disk_under_their_key_only(tmp_path: Path) -> None:
    cache = EpisodeCache(tmp_path / "episodes")
    assert cache.load({"a": 1}) is None and cache.load_number({"a": 1}) is None
    cache.save({"a": 1, "b": [2]}, episodes())
    cache.save_number({"a": 1}, 0.1)
    again = cache.load({"b": [2], "a": 1})
    assert again is not None
    for name, value in vars(episodes()).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert again.returns.tolist() == [3, 3] and cache.load_number({"a": 1}) == 0.1
    assert cache.load({"a": 1, "b": [3]}) is None
    joined = join_episodes([episodes(), episodes(2.0)])
    assert len(joined) == 4 and joined.returns.tolist() == [3, 3, 6, 6]


@pytest.mark.parametrize("real_id", ["Ring-v0", "SavingRing-v0"])
def test_agents_and_actions_play_from_the_spawn(
    real_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_walkers(monkeypatch)
    player = RealPlayer(world(real_id))
    taken = np.array([1, 0, 2] * 10)
    parts = [Part(agent="walker:12", frames=4), Part(actions=taken), Part(agent="walker:12")]
    visited = player.visit(visit(*parts))
    assert visited.index == 7 and visited.difference == 0 and len(visited.episodes) == 3
    walked, replayed, again = visited.episodes
    place, rewards = spawn_place(), []
    for t in range(HORIZON):
        action = 1 + place % 2
        assert walked.actions[0, t] == again.actions[0, t] == action
        place = (place + action) % PLACES
        rewards.append(reward_of(place, action))
        if t < 4:
            assert place_of(walked.frames[0, t]) == place
    assert walked.rewards[0].tolist() == again.rewards[0].tolist() == rewards
    assert walked.frames.shape == (1, 4, *SIZE, 3) and replayed.frames.shape[1] == 0
    np.testing.assert_array_equal(replayed.actions[0], taken[:HORIZON])
    place, by_hand = spawn_place(), []
    for action in taken[:HORIZON]:
        place = (place + int(action)) % PLACES
        by_hand.append(reward_of(place, int(action)))
    assert replayed.rewards[0].tolist() == by_hand
    player.close()


def test_nothing_is_played_at_a_spawn_that_looks_otherwise() -> None:
    elsewhere = visit(Part(agent="random"), place=(spawn_place() + 1) % PLACES)
    visited = RealPlayer(world()).visit(elsewhere)
    assert visited.episodes == [] and visited.difference == pytest.approx(2 * 255 / PLACES)


def test_an_episode_that_terminates_pays_nothing_more() -> None:
    length = len(SOURCE["actions"]) + 6
    play = RealPlayer(world(length=length)).visit(visit(Part(actions=np.ones(99, int)))).episodes[0]
    assert play.lengths.tolist() == [6] and play.rewards.shape == (1, HORIZON)
    assert not play.rewards[0, 6:].any()


def test_random_agents_follow_the_seed_of_the_spawn() -> None:
    parts = [Part(seed=seed, agent="random") for seed in (1, 2, 1)]
    played = RealPlayer(world()).visit(visit(*parts)).episodes
    one, other, again = (episode.actions.tolist() for episode in played)
    assert one == again != other


def test_an_environment_that_cuts_episodes_off_by_itself_is_refused() -> None:
    class Cutting(RingEnv):
        def step(self, action: int) -> Any:
            *rest, _, info = super().step(action)
            return *rest, self.count >= 9, info

    gymnasium.register("CuttingRing-v0", entry_point=lambda **kwargs: Cutting(**kwargs))
    with pytest.raises(ConfigError, match="cut an episode off after 5 steps.*at most 5"):
        RealPlayer(world("CuttingRing-v0")).visit(visit(Part(agent="random")))


def test_full_episodes_begin_at_their_seed() -> None:
    player = RealPlayer(world())
    place, play = player.whole_episode(WholeEpisode((2, 5), "random", "frame", 11, 13))
    assert place == (2, 5) and play.rewards.shape == (1, 13)
    again = RealPlayer(world()).whole_episode(WholeEpisode((0, 0), "random", "frame", 11, 13))[1]
    np.testing.assert_array_equal(play.actions, again.actions)
    np.testing.assert_array_equal(play.rewards, again.rewards)


def test_agents_are_called_by_what_tells_them_apart() -> None:
    specs = [
        "runs/a/agent.zip",
        "runs/b",
        "runs/b/kept/step_000000010.zip",
        "runs/a/kept/step_000000010.zip",
        "runs/c.zip",
        "sticky:0.5",
    ]
    assert list(_labels(specs).values()) == [
        "a",
        "b",
        "b/step_000000010",
        "a/step_000000010",
        "c",
        "sticky:0.5",
    ]
    assert list(_labels(["x/a", "y/a", "../x/a"]).values()) == ["x/a (1)", "y/a", "x/a (2)"]


def test_contenders_of_one_label_are_averaged_episode_by_episode() -> None:
    contenders = [Contender.parse(f"{label}=random") for label in ("dream", "dream", "real")]
    returns = np.array([[0.0, 4.0], [2.0, 6.0], [1.0, 1.0]])
    written = Transfer("Ring-v0", 10, contenders, returns).to_json()
    assert written["labels"]["dream"]["mean"] == 3
    assert written["differences"][0]["mean"] == 2
    assert (written["differences"][0]["low"], written["differences"][0]["high"]) == (0, 4)
    with pytest.raises(ConfigError, match="label=agent, such as dream=runs/dream, not 'runs/a'"):
        Contender.parse("runs/a")
