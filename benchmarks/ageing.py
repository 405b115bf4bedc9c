"""Whether a step costs more the older a dream is: old and young dreams timed in turns.

A machine's speed changes by more than the difference that is looked for, so an old dream is not
compared with itself an hour ago. It is stepped alternately with a young one, and the ratio of
neighbouring steps is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamenv.core.statistics import statistic_interval
from dreamenv.dream.vector_env import DreamVectorEnv

BLOCK = 10
"""Neighbouring pairs whose medians make one ratio: a single step is easily disturbed."""


def step_times(env: DreamVectorEnv, steps: int) -> list[float]:
    """Seconds of each of some steps under random actions."""
    seconds = []
    for _ in range(steps):
        action = env.action_space.sample()
        began = time.perf_counter()
        env.step(action)
        seconds.append(time.perf_counter() - began)
    return seconds


def age(env: DreamVectorEnv) -> int:
    """Steps since the youngest of these dreams began; a model may end one before its horizon."""
    return int(env.get_state().elapsed.min())


def in_turns(old: DreamVectorEnv, young: DreamVectorEnv, pairs: int) -> list[list[float]]:
    """Seconds of `pairs` steps of each, taken alternately; who is first alternates too."""
    seconds: list[list[float]] = [[], []]
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            seconds[which] += step_times((old, young)[which], 1)
    return seconds


def compare(old: Sequence[float], young: Sequence[float]) -> dict[str, Any]:
    """Seconds per step of both, and the ratio of old to young with its 95 % interval.

    The ratio is the median over blocks of pairs; the interval is a bootstrap over blocks.
    """
    blocks = _block_medians(old) / _block_medians(young)
    interval = statistic_interval(
        lambda index: float(np.median(blocks[index])), np.arange(len(blocks)), resamples=2000
    ).to_json()
    return {
        "pairs": len(old),
        "seconds_per_step": float(np.median(old)),
        "seconds_per_young_step": float(np.median(young)),
        "ratio": interval.pop("mean"),
        **interval,
    }


def _block_medians(seconds: Sequence[float]) -> NDArray[np.float64]:
    count = max(1, len(seconds) // BLOCK)
    return np.array([np.median(part) for part in np.array_split(np.asarray(seconds), count)])


def over_time(
    checkpoint: str, ages: list[int], pairs: int, dtype: str = "auto", slots: int = 1
) -> dict[str, Any]:
    """A dream that is never reset, compared at each age with one as old as the first age.

    Args:
        checkpoint: of both dreams.
        ages: in steps, ascending; no step is skipped.
        pairs: timed steps of each dream at each age.
        dtype: of both. slots: of each.
    """
    old, young = (
        DreamVectorEnv(slots, checkpoint, horizon=ages[-1] + ages[0] + pairs + 1, dtype=dtype)
        for _ in range(2)
    )
    for env in (old, young):
        env.action_space.seed(0)
    old.reset(seed=0)
    rows = []
    began = time.perf_counter()
    for next_age in ages:
        step_times(old, max(0, next_age - age(old)))
        young.reset(seed=0)
        step_times(young, ages[0])
        rows.append({
            "frames": age(old),
            "young_frames": age(young),
            **compare(*in_turns(old, young, pairs)),
            "state_bytes": old.state_nbytes,
            "young_state_bytes": young.state_nbytes,
        })  # fmt: skip
        print(f"a dream of {age(old)} frames after {time.perf_counter() - began:.0f} s", flush=True)
    return {"slots": slots, "ages": rows}
