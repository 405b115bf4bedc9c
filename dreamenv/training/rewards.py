"""The rewards that there are: categories, or numbers on a scale, by the data or the user's word.

Rewards are *categories* if the values seen are taken for the only ones there are: the model then
says which. Otherwise they are *continuous*: a grid of values between which it interpolates.
"""

from __future__ import annotations

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.config import RewardConfig

KINDS = ("auto", "categories", "continuous")
MOST_VALUES = 16
"""More distinct rewards are continuous, if nobody says otherwise; twice as many make a grid."""
MOST_CATEGORIES = 256
FEW_REPEATS = 0.1
"""Good and Turing's estimate of the chance of a value never seen before is the share of values seen
once; above this, rewards are continuous."""


def all_rewards(store: RolloutStore) -> np.ndarray:
    """The rewards (steps,) of all episodes of a store."""
    return np.concatenate([store.read_steps(i)["reward"] for i in range(store.num_episodes)])


def fit_rewards(
    rewards: np.ndarray, kind: str = "auto", before: RewardConfig | None = None
) -> tuple[RewardConfig, str]:
    """The values that a model's reward head is to have, and why.

    Args:
        rewards: (steps,) all that were received.
        kind: one of `KINDS`.
        before: those of the weights to go on with: they are kept, and new ones are added.

    Raises:
        ConfigError: `kind` cannot be had; says what to do.
    """
    values, counts = np.unique(rewards, return_counts=True)
    if before is not None:
        return _widened(before, values, kind)
    exact, why = _decided(values, counts)
    if kind != "auto":
        exact, why = kind == "categories", f"as asked for, of {len(values)} values"
    if exact and len(values) > MOST_CATEGORIES:
        raise ConfigError(
            f"rewards take {len(values)} values; categories may be {MOST_CATEGORIES} at most: "
            "leave out rewards categories"
        )
    if not exact:
        values = _grid(values, counts, rewards)
    return RewardConfig(tuple(map(float, values)), exact), why


def _decided(values: np.ndarray, counts: np.ndarray) -> tuple[bool, str]:
    if len(values) > MOST_VALUES:
        return False, f"{len(values)} different values"
    if np.array_equal(values, values.round()):
        return True, f"{len(values)} values, all of them whole numbers"
    others = np.delete(counts, counts.argmax())  # where nothing happens rewards are mostly equal
    once = int((others == 1).sum())
    if once > 1 and once > FEW_REPEATS * others.sum():
        return False, (
            f"of {int(others.sum())} rewards other than the commonest {once} occur only once"
        )
    return True, f"{len(values)} values, which repeat"


def _grid(values: np.ndarray, counts: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Quantiles, the extremes among them; a reward that most steps bring does not take them all."""
    common = values[counts.argmax()]
    others = rewards[rewards != common]
    if not len(others):
        return values
    quantiles = np.quantile(others.astype(np.float64), np.linspace(0, 1, 2 * MOST_VALUES - 1))
    return np.unique(np.append(quantiles, common))


def _widened(before: RewardConfig, values: np.ndarray, kind: str) -> tuple[RewardConfig, str]:
    known = np.array(before.values)
    named = "categories" if before.exact else "continuous"
    if kind not in ("auto", named):
        raise ConfigError(
            f"the weights to go on with know rewards as {named}: leave out rewards {kind}, or "
            "train from the beginning"
        )
    if before.exact:
        new = np.setdiff1d(values.astype(np.float64), known)
        if len(new) + len(known) > (MOST_CATEGORIES if kind == named else MOST_VALUES):
            raise ConfigError(
                f"the weights to go on with know {len(known)} rewards and no others, and the "
                f"rollouts have {len(new)} more: train from the beginning, or say rewards "
                f"categories to add them, up to {MOST_CATEGORIES} in all"
            )
    else:
        new = values[(values < known[0]) | (values > known[-1])].astype(np.float64)
        if len(new) > MOST_VALUES:
            new = np.quantile(new, np.linspace(0, 1, MOST_VALUES))
    both = tuple(map(float, np.union1d(known, new)))
    why = f"{len(known)} from the weights to go on with, and {len(both) - len(known)} new ones"
    return RewardConfig(both, before.exact), why


def say_rewards(config: RewardConfig, why: str) -> str:
    """A line on what was decided."""
    shown = [f"{value:g}" for value in config.values]
    if len(shown) > 8:
        shown = [*shown[:4], "…", *shown[-3:]]
    kind = "categories" if config.exact else "continuous, on the grid"
    return f"rewards are {kind} {', '.join(shown)} ({why}); --rewards says otherwise"
