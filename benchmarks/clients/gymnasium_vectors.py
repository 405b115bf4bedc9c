"""Gymnasium's vector environments: what its own tests (`tests/vector`) ask, on our ids."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from benchmarks.clients.checks import FRESH, Check, World, require

PACKAGES = ("gymnasium",)


def same(ours: Any, theirs: Any, what: str) -> None:
    """Insist that two results are equal, arrays nearly: batches of other sizes round otherwise."""
    if isinstance(ours, dict):
        require(ours.keys() == theirs.keys(), f"{what}: keys {[*ours]} and {[*theirs]}")
        for name, value in ours.items():
            mask = ours.get(f"_{name}", ...)  # where it is False, values mean nothing
            if isinstance(value, dict):
                same(value, theirs[name], f"{what} {name}")
            elif value.dtype == object:
                for mine, other in zip(value[mask], theirs[name][mask], strict=True):
                    same(mine, other, f"{what} {name}")
            else:
                require(data_equivalence(value[mask], theirs[name][mask]), f"{what} {name}")
    elif isinstance(ours, np.ndarray) and ours.dtype == np.uint8:
        near = np.abs(ours.astype(int) - theirs).max() <= 1
        require(ours.shape == theirs.shape and near, what)
    else:
        require(data_equivalence(ours, theirs), what)


def walk_alike(ours: Any, theirs: Any, steps: int) -> None:
    """Insist that two vector environments do the same, through ends of episodes."""
    spaces = ("observation_space", "action_space", "single_observation_space")
    for name in (*spaces, "single_action_space", "num_envs"):
        require(getattr(ours, name) == getattr(theirs, name), name)
    for what, mine, other in zip(
        ("observations", "infos"), ours.reset(seed=7), theirs.reset(seed=7), strict=True
    ):
        same(mine, other, f"{what} of reset")
    ours.action_space.seed(0)
    ended = 0
    for t in range(steps):
        actions = ours.action_space.sample()
        step = ours.step(actions)
        parts = ("observations", "rewards", "terminated", "truncated", "infos")
        for what, mine, other in zip(parts, step, theirs.step(actions), strict=True):
            same(mine, other, f"{what} of step {t}")
        require(step[0] in ours.observation_space, f"observations of step {t} in their space")
        ended += int((step[2] | step[3]).sum())
    require(ended, "an episode ended")
    ours.close()
    theirs.close()


def own_vector(world: World) -> None:
    """The id's own vector environment is Gymnasium's of single environments, in every mode."""
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        make = partial(world.make, dtype="float32")  # in which batches of any size round alike
        theirs = SyncVectorEnv([make] * 3, autoreset_mode=mode)
        ours = world.make_vec(3, autoreset_mode=mode, dtype="float32")
        walk_alike(ours, theirs, 2 * world.horizon + 1)


def batch_of_eight(world: World) -> None:
    """The least that anyone does."""
    env = world.make_vec(8, "sync")
    _, info = env.reset(seed=0)
    arrays = [value for value in info.values() if isinstance(value, np.ndarray)]
    numbers = [value for value in arrays if value.dtype != object]
    require(len(numbers) == len(info) > 0, "infos are numbers")
    env.close()


def in_processes(world: World) -> None:
    """Asynchronous vectors do as synchronous ones, with and without shared memory.

    Processes are started as Gymnasium does by itself, by a fork of one that has dreamt.
    """
    for mode, shared in ((AutoresetMode.NEXT_STEP, True), (AutoresetMode.SAME_STEP, False)):
        theirs = SyncVectorEnv([world.make] * 2, autoreset_mode=mode)
        theirs.reset(seed=1)
        theirs.step(np.zeros(2, np.int64))
        ours = AsyncVectorEnv([world.make] * 2, shared_memory=shared, autoreset_mode=mode)
        walk_alike(ours, theirs, world.horizon + 2)


def in_fresh_processes(world: World) -> None:
    """The same in processes that begin from nothing."""
    ours = AsyncVectorEnv([world.make] * 2, context="spawn")
    walk_alike(ours, SyncVectorEnv([world.make] * 2), world.horizon + 2)


def ends(world: World) -> None:
    """`final_obs` and `final_info` are of the episode that ended, the rest of the next one."""
    env = SyncVectorEnv([world.make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    _, first = env.reset(seed=0)
    for _ in range(world.horizon):
        observations, _, _, truncated, info = env.step(np.zeros(2, np.int64))
    require(truncated.all(), "the horizon truncates")
    keys = first.keys() | {"final_obs", "_final_obs", "final_info", "_final_info"}
    require(info.keys() == keys and info["final_info"].keys() == first.keys(), "keys at the end")
    for last, now in zip(info["final_obs"], observations, strict=True):
        require(last.shape == now.shape and (last != now).any(), "final_obs is the last frame")
    env.close()


def masked_resets(world: World) -> None:
    """Without autoreset the chosen slots begin, and impossible masks are refused."""
    env = SyncVectorEnv([world.make] * 3, autoreset_mode=AutoresetMode.DISABLED)
    first, _ = env.reset(seed=[0, 1, 2])
    walked, *_ = env.step(np.ones(3, np.int64))
    mask = np.array([True, True, False])
    begun, info = env.reset(seed=[0, 1, 0], options={"reset_mask": mask})
    require((begun[:2] == first[:2]).all() and (begun[2] == walked[2]).all(), "masked slots begin")
    told = [info[name].tolist() for name in info if name.startswith("_")]
    require(all(masks == mask.tolist() for masks in told), "infos are of the slots that begin")
    for bad in (np.array([True]), np.array([1, 1, 0]), np.array([[True, True, True]])):
        try:
            env.reset(options={"reset_mask": bad})
        except (AssertionError, TypeError, ValueError):
            continue
        raise AssertionError(f"the mask {bad} was taken")
    env.close()


def seeds_and_calls(world: World) -> None:
    """Seeds are told slot by slot; attributes and methods are reached."""
    env = SyncVectorEnv([world.make] * 3)
    env.reset(seed=42)
    require(env.np_random_seed == (42, 43, 44), "seeds of the slots")
    env.reset()
    require(env.np_random_seed == (42, 43, 44), "seeds after a reset without one")
    require(env.call("has_wrapper_attr", "step") == (True,) * 3, "methods are called")
    require(len(env.get_attr("render_mode")) == 3, "attributes are read")
    if world.dream:
        require(all(source["actions"] for source in env.call("source")), "sources of the slots")
    env.close()


CHECKS = (
    Check('`make_vec(id, 8, vectorization_mode="sync").reset(seed=0)`', batch_of_eight),
    Check("the id's own vector equals `SyncVectorEnv`", own_vector, dreams_only=True),
    Check(
        "`AsyncVectorEnv` equals `SyncVectorEnv`, shared memory or not",
        in_processes,
        dreams_only=True,
        processes=True,
    ),
    Check('`AsyncVectorEnv(context="spawn")`, the same', in_fresh_processes, FRESH, processes=True),
    Check("`final_obs` and `final_info` under same-step autoreset", ends),
    Check("resets by mask, impossible masks", masked_resets),
    Check("seeds, `call`, `get_attr`", seeds_and_calls),
)
