"""Policies stay inside their space, repeat with their seed, and are found by name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from counting_env import CountingEnv
from gymnasium.spaces import Box, Discrete

from dreamenv.core.errors import MissingDependencyError, RolloutError
from dreamenv.real.plugin import Parametrized
from dreamenv.rollouts.policies import make_policy

SPACES = [
    Discrete(4),
    Discrete(3, start=-2),
    Box(-1, 2, (3,), np.float32),
    Box(0.1, 0.2, (2, 2), np.float64),
    Box(np.array([0, -3]), np.array([1, 200]), dtype=np.int16),
    Box(-1, 1, (), np.float32),
]


def actions(policy, space, seed, count=200):
    env = CountingEnv()
    env.action_space = space
    policy.reset(env, seed)
    return [policy.act(np.zeros((8, 8, 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("spec", ["uniform", "sticky", "sticky:0.5"])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_are_in_the_space_and_follow_the_seed(spec, space):
    policy = make_policy(spec)
    first = actions(policy, space, 5)
    assert all(space.contains(action) for action in first)
    np.testing.assert_array_equal(first, actions(policy, space, 5))
    assert not np.array_equal(first, actions(policy, space, 6))


def test_whole_numbers_are_drawn_up_to_the_last():
    drawn = np.array(actions(make_policy("uniform"), Box(0, 3, (1,), np.uint8), 0, 400))
    np.testing.assert_allclose(np.bincount(drawn.ravel()) / 400, 0.25, atol=0.07)


def test_uniform_is_uniform_and_sticky_sticks():
    uniform = np.array(actions(make_policy("uniform"), Discrete(4), 0, 4000))
    np.testing.assert_allclose(np.bincount(uniform) / 4000, 0.25, atol=0.03)
    sticky = np.array(actions(make_policy("sticky:0.8"), Discrete(4), 0, 4000))
    # A fresh draw repeats the old action by chance once in four.
    assert abs((sticky[1:] == sticky[:-1]).mean() - (0.8 + 0.2 / 4)) < 0.03


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gaol", "no policy 'gaol'; did you mean 'goal'"),
        ("", "no policy ''"),
        ("uniform:0.5", "takes no number"),
        ("sticky:often", "'often' is no number"),
        ("sticky:1", r"stickiness must be in \[0, 1\)"),
    ],
)
def test_bad_names(spec, message):
    with pytest.raises(RolloutError, match=message):
        make_policy(spec)


def test_a_missing_extra_is_named(monkeypatch):
    from dreamenv.real.memory_maze import FAMILY

    far = Parametrized("a_simulator_not_installed.x:Far")
    monkeypatch.setitem(FAMILY.policies, "far", far)  # a dict, whatever its type says
    assert "a_simulator_not_installed" not in sys.modules
    with pytest.raises(MissingDependencyError, match=r"pip install 'dreamenv\[memory-maze\]'"):
        make_policy("far")
