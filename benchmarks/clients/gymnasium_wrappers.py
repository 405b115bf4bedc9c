"""Every wrapper of Gymnasium on our ids: what its own tests (`tests/wrappers`) ask of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from benchmarks.clients.checks import Check, World, require
from benchmarks.clients.gymnasium_vectors import walk_alike

PACKAGES = ("gymnasium",)
PIXELS = 64 * 64 * 3


def halved(reward: Any) -> Any:
    """A reward, or rewards, of half the size."""
    return reward / 2


# What both kinds of wrappers must make the same of, whether each slot or the batch is wrapped.
BOTH: dict[str, dict[str, Any]] = {
    "FlattenObservation": {},
    "GrayscaleObservation": {},
    "ReshapeObservation": {"shape": (PIXELS,)},
    "RescaleObservation": {"min_obs": np.float32(0), "max_obs": np.float32(1)},
    "DtypeObservation": {"dtype": np.float32},
    "ClipReward": {"min_reward": -0.25, "max_reward": 0.75},
    "TransformReward": {"func": halved},
}
BOTH_BY_OPENCV: dict[str, dict[str, Any]] = {"ResizeObservation": {"shape": (32, 40)}}
SINGLE: dict[str, dict[str, Any]] = {
    "Autoreset": {},
    "DelayObservation": {"delay": 2},
    "FrameStackObservation": {"stack_size": 3},
    "MaxAndSkipObservation": {"skip": 2},
    "NormalizeObservation": {},
    "NormalizeReward": {},
    "OrderEnforcing": {},
    "PassiveEnvChecker": {},
    "RecordEpisodeStatistics": {},
    "RepeatAction": {"num_repeats": 2},
    "StickyAction": {"repeat_action_probability": 0.5},
    "TimeAwareObservation": {"flatten": False},
    "TimeLimit": {"max_episode_steps": 2},
}
RENDERED: dict[str, dict[str, Any]] = {
    "AddRenderObservation": {},
    "AddWhiteNoise": {"probability_of_noise_per_pixel": 0.5},
    "ObstructView": {"obstructed_pixels_ratio": 0.5, "obstruction_width": 4},
    "RenderCollection": {},
}
ARRAYS: dict[str, dict[str, Any]] = {"NumpyToTorch": {}}


def play(env: gymnasium.Env, episodes: int = 2) -> list[dict[str, Any]]:
    """The infos of some episodes, whose observations are in the environment's space."""
    env.action_space.seed(0)
    infos = []
    for episode in range(episodes):
        observation, info = env.reset(seed=episode)
        infos.append(info)
        for _ in range(50):
            observation, _, terminated, truncated, info = env.step(env.action_space.sample())
            infos.append(info)
            if terminated or truncated:
                break
        numpy = isinstance(observation, np.ndarray | dict)
        require(not numpy or observation in env.observation_space, "the observation's space")
    return infos


def singles(settings: dict[str, dict[str, Any]], **made: Any) -> Callable[[World], None]:
    """A check that plays each of these wrappers of single environments."""

    def run(world: World) -> None:
        env = world.make(**made)
        kept = set(env.reset(seed=0)[1])
        for name, kwargs in settings.items():
            infos = play(getattr(wrappers, name)(env, **kwargs))
            require(all(kept <= info.keys() for info in infos), f"{name} keeps the infos")
        env.close()

    return run


def alike(settings: dict[str, dict[str, Any]]) -> Callable[[World], None]:
    """A check that wrapping the batch is wrapping each slot, for each of these wrappers."""

    def run(world: World) -> None:
        for name, kwargs in settings.items():
            single, batched = getattr(wrappers, name), getattr(wrappers.vector, name)

            def make(single: Any = single, kwargs: Any = kwargs) -> gymnasium.Env:
                return single(world.make(), **kwargs)

            plain = SyncVectorEnv([world.make] * 2)
            walk_alike(batched(plain, **kwargs), SyncVectorEnv([make] * 2), world.horizon + 2)

    return run


def around_own_vector(world: World) -> None:
    """The id's own vector environment under all wrappers of vectors."""
    for name, kwargs in (BOTH | {"NormalizeObservation": {}, "NormalizeReward": {}}).items():
        env = world.make_vec(2, autoreset_mode="NextStep")
        step_through(getattr(wrappers.vector, name)(env, **kwargs), world)
    memory = world.make_vec(2, autoreset_mode="NextStep", observation="memory")
    step_through(wrappers.vector.FilterObservation(memory, ["memory"]), world)
    listed = wrappers.vector.DictInfoToList(world.make_vec(2))
    for infos in (listed.reset(seed=0)[1], listed.step(np.zeros(2, np.int64))[-1]):
        require([sorted(info) for info in infos][0], "each slot has an info of its own")


def step_through(env: Any, world: World) -> None:
    """Step a vector environment through an end of its episodes."""
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(world.horizon + 2):
        observations, *_ = env.step(env.action_space.sample())
        require(observations in env.observation_space, f"observations of {env}")
    env.close()


def statistics(world: World) -> None:
    """Returns and lengths are those of the episodes, by slot and by batch, in both modes."""
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        env = wrappers.vector.RecordEpisodeStatistics(
            SyncVectorEnv([world.make] * 2, autoreset_mode=mode)
        )
        env.reset(seed=0)
        for _ in range(world.horizon):
            *_, info = env.step(np.ones(2, np.int64))
        require(info["episode"]["l"].tolist() == [world.horizon] * 2, f"lengths under {mode}")
    told = play(wrappers.RecordEpisodeStatistics(world.make()), 1)[-1]
    require(told["episode"]["l"] == world.horizon, "the length of one episode")


def videos(world: World) -> None:
    """Of one environment, and of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        env = wrappers.RecordVideo(world.make(render_mode="rgb_array"), folder, lambda _: True)
        play(env, 1)
        env.close()
        batch = SyncVectorEnv([lambda: world.make(render_mode="rgb_array")] * 2)
        together = wrappers.vector.RecordVideo(
            batch, folder, episode_trigger=lambda _: True, video_length=3
        )
        step_through(together, world)


CHECKS = (
    Check("wrappers of single environments", singles(SINGLE | BOTH)),
    Check("wrappers of what is rendered", singles(RENDERED, render_mode="rgb_array")),
    Check("wrapping the batch is wrapping each slot", alike(BOTH), dreams_only=True),
    Check("`ResizeObservation` of both kinds", alike(BOTH_BY_OPENCV), needs=("cv2",)),
    Check("`NumpyToTorch`", singles(ARRAYS), needs=("array_api_compat",)),
    Check(
        "wrappers of batched observations around the id's own vector",
        around_own_vector,
        'autoreset_mode="NextStep", which Gymnasium\'s wrappers ask of every vector',
        dreams_only=True,
    ),
    Check("`RecordEpisodeStatistics` of both kinds", statistics),
    Check("`RecordVideo` of both kinds", videos, needs=("moviepy",)),
)
