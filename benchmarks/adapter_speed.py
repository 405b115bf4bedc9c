"""What it costs to step dreams as Stable-Baselines3 does, beside the bare dream.

    python -m benchmarks.adapter_speed

The same dreams are played in four ways, in turns, several times over, because machines are noisy:
  - `dream`: `DreamVectorEnv.step` alone;
  - `vec_env`: `DreamVecEnv.step` under `VecMonitor` alone: what the adapter itself adds;
  - `dream_and_policy`: `DreamVectorEnv.step` and, for each step, one forward pass of PPO's policy,
    which every agent has to pay;
  - `collect_rollouts`: PPO's own loop on `DreamVecEnv`: adapter, monitor, the policy, values of
    frames where time ran out, the rollout buffer, and advantages.
All ways take the same actions from the same seeds, which is checked. An overhead is the share of
frames/s lost: `adapter` compares the first two, `collect_rollouts` the last two; medians of the
rounds' ratios. Result: docs/results/adapter_speed.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecMonitor, VecTransposeImage

from benchmarks.script import conditions, options, store
from benchmarks.yardsticks import Yardsticks
from dreamenv.agents.recipes import build_model, make_recipe
from dreamenv.dream.sb3 import DreamVecEnv
from dreamenv.dream.vector_env import DreamVectorEnv


class Players:
    """The four ways to play `steps` steps of all slots; each returns seconds and actions."""

    def __init__(self, slots: int, steps: int, dream: dict[str, Any]) -> None:
        self.steps = steps
        self.bare = DreamVectorEnv(slots, **dream)
        self.adapted = VecMonitor(DreamVecEnv(slots, **dream))
        recipe = make_recipe(slots, {"n_steps": steps, "batch_size": slots})
        model = build_model("ppo", recipe, self.adapted, seed=0, device="auto")
        assert isinstance(model, PPO)
        self.model = model
        _, self.callback = model._setup_learn(10**9)

    def dream(self, seed: int, actions: NDArray) -> tuple[float, NDArray]:
        """The bare dream under given actions (steps, slots)."""
        self.bare.reset(seed=seed)
        began = time.perf_counter()
        for step in actions:
            self.bare.step(step)
        return time.perf_counter() - began, actions

    def vec_env(self, seed: int, actions: NDArray) -> tuple[float, NDArray]:
        """The adapter under given actions."""
        self.adapted.seed(seed)
        self.adapted.reset()
        began = time.perf_counter()
        for step in actions:
            self.adapted.step(step)
        return time.perf_counter() - began, actions

    def dream_and_policy(self, seed: int) -> tuple[float, NDArray]:
        """The bare dream under the policy's actions."""
        policy, taken = self.model.policy, []
        policy.set_training_mode(False)
        channels_first = self.model.env
        assert isinstance(channels_first, VecTransposeImage)
        observation, _ = self.bare.reset(seed=seed)
        torch.manual_seed(seed)
        began = time.perf_counter()
        for _ in range(self.steps):
            seen = channels_first.transpose_observations(observation)
            with torch.no_grad():
                action, _, _ = policy(obs_as_tensor(seen, self.model.device))
            taken.append(action.cpu().numpy())
            observation, *_ = self.bare.step(taken[-1])
        return time.perf_counter() - began, np.stack(taken)

    def collect_rollouts(self, seed: int) -> tuple[float, NDArray]:
        """Stable-Baselines3's own loop."""
        model = self.model
        assert model.env is not None
        model.env.seed(seed)
        model._last_obs = model.env.reset()  # type: ignore[assignment]
        model._last_episode_starts = np.ones(model.n_envs, np.bool_)
        torch.manual_seed(seed)
        began = time.perf_counter()
        model.collect_rollouts(model.env, self.callback, model.rollout_buffer, self.steps)
        seconds = time.perf_counter() - began
        return seconds, model.rollout_buffer.actions[..., 0].astype(np.int64)


def measure(players: Players, rounds: int) -> dict[str, Any]:
    """Seconds of every way in every round, and the overheads.

    Raises:
        RuntimeError: two ways took different actions, so their times mean nothing.
    """
    frames = players.steps * players.bare.num_envs
    seconds: dict[str, list[float]] = {}

    def play(way: Callable[..., tuple[float, NDArray]], *inputs: Any) -> NDArray:
        taken, actions = way(*inputs)
        seconds.setdefault(way.__name__, []).append(taken)
        return actions

    play(players.dream, 0, play(players.dream_and_policy, 0))  # not counted: all warms up
    play(players.vec_env, 0, play(players.collect_rollouts, 0))
    seconds.clear()
    for seed in range(1, rounds + 1):
        pair = [players.dream_and_policy, players.collect_rollouts]
        one, other = (play(way, seed) for way in pair[:: 1 if seed % 2 else -1])
        if not np.array_equal(one, other):
            raise RuntimeError("the policy chose other actions in one way than in the other")
        for alone in [players.dream, players.vec_env][:: 1 if seed % 2 else -1]:
            play(alone, seed, one)

    def overhead(slower: str, faster: str) -> float:
        ratios = zip(seconds[faster], seconds[slower], strict=True)
        return 1 - statistics.median(fast / slow for fast, slow in ratios)

    return {
        "frames_per_second": {
            way: [round(frames / s, 2) for s in taken] for way, taken in seconds.items()
        },
        "overhead": {
            "adapter": overhead("vec_env", "dream"),
            "collect_rollouts": overhead("collect_rollouts", "dream_and_policy"),
        },
        "policy_share": overhead("dream_and_policy", "dream"),
    }


def main() -> None:
    """Measure and store."""
    parser = options(__doc__, "adapter_speed.json", yardsticks=True)
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--steps", type=int, default=64, help="of every slot in a round")
    parser.add_argument("--horizon", type=int, default=32, help="steps of an episode")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    result: dict[str, Any] = {
        **conditions("adapter_speed"),
        "slots": args.slots,
        "steps_per_round": args.steps,
        "horizon": args.horizon,
    }
    for observation in ("frame", "memory"):
        dream = {
            "checkpoint": args.checkpoint,
            "horizon": args.horizon,
            "observation": observation,
        }
        yardsticks = Yardsticks(args.matmul_size, args.copied_mebibytes)
        yardsticks.read()
        players = Players(args.slots, args.steps, dream)
        measured = measure(players, args.rounds)
        yardsticks.read()
        model = players.bare.loaded.model
        result["denoising_steps"] = model.config.sampler.steps
        result["weights_sha256"] = players.bare.loaded.fingerprint
        result["dtype"] = str(model.compute_dtype).removeprefix("torch.")
        result[observation] = measured | yardsticks.to_json()
        print(observation, result[observation], flush=True)
    store(args.out, result)


if __name__ == "__main__":
    main()
