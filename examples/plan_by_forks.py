"""Plan by forking the dream: the cross-entropy method over sequences of discrete actions.

    python examples/plan_by_forks.py --episodes 4 --forks 64 --depth 12 --rounds 3

Before each step the dream is forked. Every fork follows an action sequence of its own, drawn
from a distribution that moves towards the sequences that earned most [Rubinstein 1999]; the
first action of the best one is taken. Printed beside the returns of random actions from the same
spawns. Nothing is learnt, and no simulator is needed.
"""

from __future__ import annotations

import argparse

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from dreamenv import ConfigError, DreamEnv, DreamState, DreamVectorEnv

ELITE = 0.125
"""Share of the sequences that the next round imitates."""


def returns_of(
    forks: DreamVectorEnv, state: DreamState, plans: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What each action sequence (forks, depth) earns from `state`, up to its episode's end."""
    forks.set_state(state)
    earned, going_on = np.zeros(len(plans)), np.ones(len(plans), np.bool_)
    for actions in plans.T:
        _, rewards, terminated, truncated, _ = forks.step(actions)
        earned += rewards * going_on
        going_on &= ~(terminated | truncated)
    return earned


def plan(
    env: DreamEnv,
    forks: DreamVectorEnv,
    depth: int,
    rounds: int,
    rng: np.random.Generator,
) -> int:
    """The first action of the best sequence found by the cross-entropy method."""
    actions = forks.single_action_space
    if not isinstance(actions, Discrete):
        raise ConfigError(f"sequences of discrete actions are planned, not of {actions}")
    count, n = forks.num_envs, int(actions.n)
    # Chance is drawn anew for each fork, or plans would rely on noise that will not come.
    state = env.get_state().repeat(count).reseed(int(rng.integers(2**32)))
    probabilities = np.full((depth, n), 1 / n)
    best, best_return = np.zeros(depth, np.int64), -np.inf
    for _ in range(rounds):
        thresholds = probabilities.cumsum(1)[:, None, :-1]  # (depth, 1, n − 1)
        plans = (rng.random((depth, count, 1)) > thresholds).sum(-1).T
        earned = returns_of(forks, state, actions.start + plans)
        elite = plans[np.argsort(-earned)[: max(1, round(ELITE * count))]]
        if earned.max() > best_return:
            best, best_return = elite[0], earned.max()
        shares = (elite[:, :, None] == np.arange(n)).mean(0)
        probabilities = 0.9 * shares + 0.1 / n  # never quite sure
    return int(actions.start + best[0])


def episode(
    env: DreamEnv, seed: int, forks: DreamVectorEnv | None, args: argparse.Namespace
) -> float:
    """The return of one episode, planned on `forks` or, without them, of random actions."""
    rng, earned, ended = np.random.default_rng(seed), 0.0, False
    env.reset(seed=seed)
    while not ended:
        if forks is None:
            space = env.action_space
            assert isinstance(space, Discrete)
            action = int(space.start + rng.integers(space.n))
        else:
            action = plan(env, forks, args.depth, args.rounds, rng)
        _, reward, terminated, truncated, _ = env.step(action)
        earned, ended = earned + reward, terminated or truncated
    return earned


def main(argv: list[str] | None = None) -> None:
    """Play the same episodes with plans and at random."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--horizon", type=int, default=32, help="steps of an episode")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--forks", type=int, default=64, help="sequences tried in each round")
    parser.add_argument("--depth", type=int, default=12, help="actions in a sequence")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    env = DreamEnv(args.checkpoint, args.horizon)
    env.reset(seed=0)
    # The expected reward tells near misses apart, where the likeliest is zero for both.
    forks = env.fork(args.forks, reward="expected")
    for name, planner in {"planned": forks, "random": None}.items():
        returns = [episode(env, seed, planner, args) for seed in range(args.episodes)]
        print(f"{name}: mean return {np.mean(returns):.2f} of {returns}")


if __name__ == "__main__":
    main()
