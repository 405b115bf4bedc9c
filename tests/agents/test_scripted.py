"""Agents that learnt nothing: what they do, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from dreamenv.agents.loading import load_agent
from dreamenv.core.errors import ConfigError
from tests.agents.conftest import frames

ACTIONS = spaces.Discrete(3)


@pytest.mark.parametrize("space", [ACTIONS, spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([2, 5])])
def test_random_agent(space: spaces.Space) -> None:
    agent = load_agent("random", space, seed=1)
    start = np.zeros(50, bool)
    actions = np.stack([agent.act(frames(1, 50)[0], start) for _ in range(20)])
    assert all(space.contains(action) for action in actions.reshape(1000, *space.shape))
    agent.reset()
    assert np.array_equal(agent.act(frames(1, 50)[0], start), actions[0])
    other = load_agent("random", space, seed=2)
    assert not np.array_equal(other.act(frames(1, 50)[0], start), actions[0])


def test_random_agent_is_uniform() -> None:
    agent = load_agent("random", ACTIONS, seed=0)
    actions = [agent.act(np.zeros((8, 1)), np.zeros(8, bool)) for _ in range(500)]
    assert np.bincount(np.ravel(actions)) / 4000 == pytest.approx([1 / 3] * 3, abs=0.03)


@pytest.mark.parametrize(("spec", "probability"), [("sticky", 0.9), ("sticky:0.5", 0.5)])
def test_sticky_agent_repeats_with_its_probability(spec: str, probability: float) -> None:
    agent = load_agent(spec, ACTIONS, seed=0)
    assert agent.name == spec
    actions = np.stack([agent.act(np.zeros((8, 1)), np.zeros(8, bool)) for _ in range(1000)])
    repeated = (actions[1:] == actions[:-1]).mean()
    assert repeated == pytest.approx(probability + (1 - probability) / 3, abs=0.02)


def test_sticky_agent_forgets_at_the_start_of_an_episode() -> None:
    agent = load_agent("sticky:1", ACTIONS, seed=0)
    first = agent.act(np.zeros((200, 1)), np.ones(200, bool))
    start = np.arange(200) < 100
    second = agent.act(np.zeros((200, 1)), start)
    assert np.array_equal(first[100:], second[100:])
    assert (first[:100] == second[:100]).mean() == pytest.approx(1 / 3, abs=0.15)


@pytest.mark.parametrize("spec", ["sticky:2", "sticky:often", "sticky:nan", "forward:-1"])
def test_shares_are_probabilities(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"{spec} is not a probability"):
        load_agent(spec, ACTIONS, seed=0)


def test_forward_agent_takes_action_1_as_often_as_it_says() -> None:
    agent = load_agent("forward:0.7", spaces.Discrete(6), seed=0)
    actions = [agent.act(np.zeros((8, 1)), np.zeros(8, bool)) for _ in range(500)]
    shares = np.bincount(np.ravel(actions), minlength=6) / 4000
    assert shares == pytest.approx([0.06, 0.7, 0.06, 0.06, 0.06, 0.06], abs=0.03)
    agent.reset()
    assert np.array_equal(agent.act(np.zeros((8, 1)), np.zeros(8, bool)), actions[0])


def test_wall_agent_goes_on_until_the_picture_stands_still() -> None:
    agent = load_agent("wall", spaces.Discrete(6), seed=0)
    moving = frames(8, 2)
    ahead = [agent.act(f, np.arange(2) == t) for t, f in enumerate(moving)]
    assert np.array_equal(ahead, np.ones((8, 2)))
    halfway = np.stack([moving[-1][0], frames(9, 2)[-1][1]])  # the first picture stands still
    turned = agent.act({"frame": halfway, "memory": np.zeros((2, 4))}, np.zeros(2, bool))
    assert turned[0] in (2, 3) and turned[1] == 1
    sides = [agent.act(f, np.zeros(2, bool)) for f in frames(20, 2)]
    assert len({int(side[0]) for side in sides[:2]} | {int(turned[0])}) == 1
    assert sides[-1][0] == 1  # the turn has an end
    assert agent.act(moving[0], np.ones(2, bool)).tolist() == [1, 1]


def maze_frame(ball: int | None, wall: bool = False) -> np.ndarray:
    """A grey 64×64 view asking for red, with a red ball around column `ball` of the floor."""
    frame = np.full((64, 64, 3), 60, np.uint8)
    frame[:2], frame[-2:], frame[:, :2], frame[:, -2:] = [(140, 30, 25)] * 4
    if ball is not None:
        frame[40:46, ball - 3 : ball + 3] = 170, 36, 30
    if wall:
        frame[10:46, 40:60] = 170, 36, 30
    return frame


@pytest.mark.parametrize(
    ("frame", "action"),
    [
        (maze_frame(None), 1),
        (maze_frame(32), 1),
        (maze_frame(20), 4),
        (maze_frame(44), 5),
        (maze_frame(8), 2),
        (maze_frame(56), 3),
        (maze_frame(None, wall=True), 1),
        (maze_frame(20, wall=True), 4),
    ],
)
def test_seek_agent_steers_to_what_the_border_asks_for(frame: np.ndarray, action: int) -> None:
    agent = load_agent("seek", spaces.Discrete(6), seed=0)
    assert agent.act(frame[None], np.ones(1, bool)) == [action]


@pytest.mark.parametrize("spec", ["wall", "seek"])
def test_maze_agents_refuse_other_actions(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"{spec} takes Memory Maze's six actions, not Discrete"):
        load_agent(spec, ACTIONS, seed=0)
    with pytest.raises(ConfigError, match=f"{spec} takes no number"):
        load_agent(f"{spec}:3", spaces.Discrete(6), seed=0)
