"""Names of version 0.1 still work and say what they are called now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.sb3 import DreamVecEnv, make_dream_vec_env
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.dreams import dream_arguments

STEPS = "'steps' is called 'denoising_steps' now"


@pytest.mark.parametrize(
    "make",
    [
        lambda **own: DreamEnv(**own).vector,
        lambda **own: DreamVectorEnv(2, **own),
        lambda **own: DreamVecEnv(2, **own).dreams,
        lambda **own: make_dream_vec_env("DreamEnv-v0", 2, **own).unwrapped.dreams,
        lambda **own: gymnasium.make("DreamEnv-v0", **own).unwrapped.vector,
        lambda **own: gymnasium.make_vec("DreamEnv-v0", 2, **own),
        lambda **own: begun(own["checkpoint"]).fork(2, steps=own["steps"]),
    ],
)
def test_denoising_steps_by_their_old_name(
    debug_checkpoint: Path, make: Callable[..., DreamVectorEnv]
) -> None:
    with pytest.warns(DeprecationWarning, match=STEPS) as caught:
        env = make(checkpoint=debug_checkpoint, steps=3)
    assert env.denoising_steps == 3
    assert [warning.filename for warning in caught] == [__file__], "it names the caller's line"


def begun(checkpoint: Path) -> DreamVectorEnv:
    env = DreamVectorEnv(1, checkpoint, denoising_steps=1)
    env.reset(seed=0)
    return env


def test_attributes_by_their_old_names(debug_checkpoint: Path) -> None:
    env = DreamVectorEnv(2, debug_checkpoint, denoising_steps=2)
    with pytest.warns(DeprecationWarning, match=STEPS):
        assert env.get_attr("steps") == (2, 2)
    with pytest.warns(DeprecationWarning, match=STEPS):
        env.steps = 1
    assert env.denoising_steps == 1
    with (
        pytest.warns(DeprecationWarning, match=STEPS),
        pytest.raises(ConfigError, match="'denoising_steps' is fixed"),
    ):
        env.set_attr("steps", 3)
    with pytest.warns(DeprecationWarning, match="'dreamer' is called 'loaded' now"):
        assert env.dreamer is env.loaded


def test_both_names_of_one_argument_contradict_each_other(debug_checkpoint: Path) -> None:
    with pytest.raises(TypeError, match="'denoising_steps' is given twice"):
        DreamEnv(debug_checkpoint, steps=1, denoising_steps=1)


def test_an_id_registered_with_the_old_name_takes_the_new_one(debug_checkpoint: Path) -> None:
    own: dict[str, Any] = {"checkpoint": debug_checkpoint, "steps": 1}
    places = "dreamenv.dream.env:DreamEnv", "dreamenv.dream.vector_env:DreamVectorEnv"
    gymnasium.register("OldNames-v0", places[0], vector_entry_point=places[1], kwargs=own)
    try:
        with pytest.warns(DeprecationWarning, match=STEPS):
            env = make_dream_vec_env("OldNames-v0", 1, denoising_steps=2)
        assert env.get_attr("denoising_steps") == [2]
        with pytest.warns(DeprecationWarning, match=STEPS):
            assert dream_arguments("OldNames-v0", {"denoising_steps": 2})["denoising_steps"] == 2
    finally:
        del gymnasium.registry["OldNames-v0"]
