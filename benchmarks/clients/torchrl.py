"""TorchRL: `GymEnv`, `GymWrapper` around vectors, infos as tensors, a collector."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, GymWrapper
from torchrl.envs.utils import check_env_specs

from benchmarks.clients.checks import Check, World, require

PACKAGES = ("torchrl", "tensordict")


def one(world: World) -> None:
    """`GymEnv` by id: specs, and episodes one after the other."""
    env = GymEnv(world.env_id, **world.kwargs)
    check_env_specs(env)
    steps = env.rollout(2 * world.horizon, break_when_any_done=False)
    require(steps["next", "done"].sum() == 2, "two episodes")


def infos(world: World) -> None:
    """Infos become tensors of the rollout, at resets as at steps."""
    env = GymEnv(world.env_id, **world.kwargs).auto_register_info_dict()
    check_env_specs(env)
    steps = env.rollout(world.horizon + 2, break_when_any_done=False)
    for name, value in world.make().reset(seed=0)[1].items():
        shape = steps[name].shape[1:].numel()
        require(shape == np.asarray(value).size, f"{name} at resets and steps")
        require(steps["next", name].shape == steps[name].shape, f"{name} after steps")


def vector(world: World) -> None:
    """`GymWrapper(make_vec)`: what follows on an end is the next episode's first frame."""
    made = world.make_vec(3)
    env = GymWrapper(made)
    check_env_specs(env)
    steps = env.rollout(2 * world.horizon, break_when_any_done=False)
    require(steps["next", "done"].sum() == 6, "two episodes in each slot")
    before, after = steps["observation"][:, 1:], steps["next", "observation"][:, :-1]
    ended = steps["next", "done"][:, :-1, 0]
    equal = (before == after).flatten(2).all(-1)
    require(equal[~ended].all() and not equal[ended].any(), "frames follow one another")
    firsts = torch.from_numpy(made.unwrapped.spawns.frames[:, -1])
    begun = before[ended].unsqueeze(1)
    require((begun == firsts).flatten(2).all(-1).any(-1).all(), "episodes begin at spawns")


def collector(world: World) -> None:
    """`Collector` of a vector, with a random policy."""
    total = 12 * world.horizon
    options: dict[str, Any] = {"frames_per_batch": total // 2, "total_frames": total}
    batches = Collector(GymWrapper(world.make_vec(3)), None, **options)
    require(sum(batch.numel() for batch in batches) == total, "all frames are collected")
    batches.shutdown()


CHECKS = (
    Check("`GymEnv`, `check_env_specs`, rollouts", one),
    Check("`GymEnv(…).auto_register_info_dict()`", infos),
    Check("`GymWrapper(make_vec(id, 3))`, `check_env_specs`, rollouts", vector, dreams_only=True),
    Check("`Collector` of the vector", collector, dreams_only=True),
)
