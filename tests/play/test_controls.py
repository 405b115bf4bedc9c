"""Every action of an environment can be reached by keys or buttons."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.play.controls import controls, idle_action
from dreamenv.rollouts.actions import fit_actions


def test_a_known_family_brings_its_keys_names_and_rest() -> None:
    found = {each.keys: each for each in controls(Discrete(6), "MemoryMaze-9x9-v0")}
    assert found["ArrowUp", "ArrowLeft"].action == 4 and found["w",].label == "forward"
    assert {each.action for each in found.values()} == set(range(6))
    assert idle_action(Discrete(6), "MemoryMaze-9x9-v0") == 0


def test_an_environment_brings_its_own_keys() -> None:
    found = controls(Discrete(4, start=1), "Other-v0", {(1073741906, ord(" ")): 2, "d": 3, 7: 4})
    assert [(each.keys, each.action) for each in found] == [
        (("ArrowUp", " "), 2), (("d",), 3), ((), 1), ((), 4),
    ]  # fmt: skip
    assert idle_action(Discrete(4, start=1), "Other-v0") == 1


def test_actions_without_names_are_on_plain_keys_and_on_buttons_beyond() -> None:
    found = controls(Discrete(40), "Other-v0")
    assert [each.keys for each in found[:11]] == [(key,) for key in "0123456789a"]
    assert len({each.action for each in found}) == 40


def test_numbers_of_a_box_go_up_and_down_within_its_bounds() -> None:
    space = Box(np.array([-0.5, 0, -np.inf], np.float32), np.array([2, 1, np.inf], np.float32))
    found = controls(space, "Other-v0")
    assert [each.action for each in found[:2]] == [[-0.5, 0, 0], [1, 0, 0]]
    assert all(fit_actions(space, each.action) is not None for each in found)
    assert fit_actions(space, idle_action(space, "Other-v0")) is not None


def test_every_category_of_actions_of_several_parts_has_a_control() -> None:
    space = Dict({"turn": Box(-2, 2, (1,)), "use": MultiBinary(2), "go": MultiDiscrete([3, 2])})
    found, idle = controls(space, "Other-v0"), idle_action(space, "Other-v0")
    assert idle == [0, 0, 0, 0, 0]  # go, turn, use: in the order of names
    assert [each.label for each in found] == [
        "go 1: 1", "go 1: 2", "go 2:", "turn 1 −", "turn 1 +", "use 1", "use 2",
    ]  # fmt: skip
    keys = [each.keys for each in found]
    assert len(set(keys)) == len(keys) and ("ArrowLeft",) in keys
    for each in found:
        assert fit_actions(space, np.array(each.action)) is not None


def test_actions_that_nobody_can_play_are_refused() -> None:
    with pytest.raises(EnvironmentUsageError, match="cannot be played by hand"):
        controls(Text(5), "Other-v0")
