"""An environment of somebody else as one whose pictures can be dreamt."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env

from dreamenv.core.errors import (
    ConfigError,
    EnvironmentUsageError,
    InvalidActionError,
    ResetNeededError,
)
from dreamenv.real.noise import NoisyPolicy
from dreamenv.real.pictures import Pictures, PlainReward
from dreamenv.real.ways import Ways, clear_of, steps_to, turn_or_go


class Screens(gymnasium.Env):
    """Shows its last action as brightness, under the key "screen", and nothing at the end."""

    def __init__(self) -> None:
        self.observation_space = Dict({"screen": Box(0, 255, (40, 60, 3), np.uint8)})
        self.action_space = Discrete(5)

    def _show(self, value: int) -> dict[str, np.ndarray]:
        return {"screen": np.full((40, 60, 3), value, np.uint8)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._show(7), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        over = self.count == 6
        return self._show(0 if over else 10 * int(action) + 1), 0.9 * over, over, False, {}


def pictures(**kwargs: Any) -> Pictures:
    """A small one with a choice of actions."""
    chosen = {"size": 16, "key": "screen", "meanings": "abcde", "choose": [0, 3]}
    return Pictures(Screens(), **(chosen | kwargs))


def test_the_picture_is_picked_resized_and_actions_are_renumbered() -> None:
    env = pictures()
    frame, _ = env.reset(seed=0)
    assert frame.shape == (16, 16, 3) and (frame == 7).all()
    assert env.action_space == Discrete(2) and env.get_action_meanings() == ["A", "D"]
    assert (env.step(1)[0] == 31).all(), "the second that is offered is number 3"


def test_a_picture_may_keep_its_size() -> None:
    env = pictures(size=None)
    assert env.observation_space.shape == env.reset(seed=0)[0].shape == (40, 60, 3)


def test_the_contract_of_gymnasium_holds() -> None:
    check_env(pictures(render_mode="rgb_array"), skip_render_check=True)


def test_where_the_last_picture_is_missing_the_one_before_stands() -> None:
    env = pictures()
    env.reset(seed=0)
    for _ in range(5):
        env.step(1)
    frame, _, terminated, _, _ = env.step(1)
    assert terminated and (frame == 31).all()
    with pytest.raises(ResetNeededError):
        env.step(1)


def test_misuse_is_refused() -> None:
    env = pictures(render_mode="rgb_array")
    with pytest.raises(ResetNeededError):
        env.render()
    env.reset(seed=0)
    assert env.render().shape == (16, 16, 3)  # type: ignore[union-attr]
    with pytest.raises(InvalidActionError, match="0 to 1"):
        env.step(2)
    for wrong in ({"size": 4}, {"choose": [7]}, {"render_mode": "human"}):
        with pytest.raises(ConfigError):
            pictures(**wrong)


def test_a_goal_pays_the_same_whenever_it_is_reached() -> None:
    env = PlainReward(Screens())
    env.reset(seed=0)
    assert [env.step(0)[1] for _ in range(6)] == [0.0] * 5 + [1.0]


class Chooses(NoisyPolicy):
    """Plays None wherever no burst is."""

    def _choose(self) -> None:
        return None


def test_bursts_come_as_often_as_asked_and_repeat_with_their_seed() -> None:
    env = gymnasium.Env()
    env.action_space = Discrete(4, start=2)

    def drawn(noise: float) -> list[Any]:
        policy = Chooses(noise)
        policy.reset(env, 5)
        return [policy.act(np.zeros(())) for _ in range(400)]

    assert drawn(0) == [None] * 400 and None not in drawn(1)
    assert drawn(0.1) == drawn(0.1) and set(drawn(1)) == {2, 3, 4, 5}
    assert 100 < sum(each is not None for each in drawn(0.1)) < 250
    with pytest.raises(ConfigError):
        Chooses(1.5)
    with pytest.raises(EnvironmentUsageError, match="reset"):
        Chooses(0.5).act(np.zeros(()))


def test_ways_lead_around_walls() -> None:
    free = np.ones((5, 5), bool)
    free[1:, 2] = False  # a wall that leaves a gap in row 0
    steps = steps_to(free, (4, 4))
    assert steps[4, 4] == 0 and steps[4, 0] == 12 and steps[4, 2] == -1
    ways = Ways(free, np.zeros(2), 1.0, np.array([4.5, 4.5]))
    place = np.array([0.5, 4.5])
    for _ in range(12):
        place = ways.ahead(place, 1)
    assert place.tolist() == [4.5, 4.5]


def test_cells_keep_clear_of_walls_and_turns_are_the_shorter() -> None:
    corners = [(0, 0), (4, 0), (4, 4), (0, 4)]
    walls = np.array([[corners[i], corners[i - 1]] for i in range(4)], float)
    free, origin = clear_of(walls, 0.8, 0.5)
    assert origin.tolist() == [0, 0] and free[4, 4] and not free[0, 4] and not free[4, 7]
    here = np.zeros(2)
    assert turn_or_go(here, 0.0, np.array([1, 0.01]), 0.1) == 0
    assert turn_or_go(here, 0.0, np.array([0, 1]), 0.1) == 1
    assert turn_or_go(here, 3.0, np.array([-1, -0.5]), 0.1) == 1, "across the jump of the angle"
