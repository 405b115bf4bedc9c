"""Two small simulations with fixed seeds: a training on several GPUs, and a server of dreams."""

from __future__ import annotations

import numpy as np

JITTER = 0.02
"""Standard deviation of the logarithm of an update's time, from process to process."""
LIFETIMES = {"own machine": 50_000.0, "machine that may be taken away": 6.0 * 8}
"""Hours that a GPU goes on for on average. The first is what a long training on 16,384 GPUs saw:
419 interruptions in 54 days (Llama 3, table 5); the second loses a machine of eight every six."""
RESTART = 300.0
"""Seconds from the end of a training to its first update again."""
OVERHEAD = 2e-3
"""Seconds of a step of a server that do not depend on how many dreams are in it."""
SIMULATED = 20.0
"""Seconds of playing."""


def simulate_training(
    computing: float, adding: float, saving: float, gpus: int, every: int = 500
) -> dict[str, float]:
    """Share of time that moves a training forward.

    Args:
        computing: seconds of an update in each process.
        adding: seconds of adding up gradients.
        saving: seconds of writing a checkpoint, for which all wait.
        gpus: processes.
        every: updates between two checkpoints.

    Returns:
        `waiting`: share of an update in which a process waits for the slowest; and for every kind
        of machine the share of a month that ends up in the weights, over 200 simulated months.
    """
    rng = np.random.default_rng(0)
    times = computing * np.exp(JITTER * rng.standard_normal((20_000, gpus)))
    update = float(times.max(1).mean()) + adding
    found = {"waiting": float(1 - times.mean() / times.max(1).mean())}
    between = every * update + saving
    for name, hours in LIFETIMES.items():
        kept, total = 0.0, 200 * 30 * 24 * 3600.0
        left = total
        while left > 0:
            life = min(left, float(rng.exponential(hours * 3600 / gpus)))
            kept += int(life / between) * every * computing
            left -= life + RESTART
        found[name] = kept / total
    return found


def simulate_serving(slots: int, keys: float, seconds: float) -> dict[str, float]:
    """Latency of dreams on one GPU whose players press keys as they like.

    All dreams that wait when a step ends go into the next one.

    Args:
        slots: dreams.
        keys: steps per second of a player, on average.
        seconds: that one frame costs in a large batch.

    Returns:
        Milliseconds from key to frame: median and 99th percentile; and frames of a step on average.
    """
    rng = np.random.default_rng(0)
    count = int(rng.poisson(slots * keys * SIMULATED))
    pressed = np.sort(rng.uniform(0, SIMULATED, count))
    shown = np.empty(count)
    done, now, sizes = 0, 0.0, []
    while done < count:
        now = max(now, float(pressed[done]))
        until = int(np.searchsorted(pressed, now, side="right"))
        now += OVERHEAD + seconds * (until - done)
        shown[done:until] = now
        sizes.append(until - done)
        done = until
    late = 1000 * (shown - pressed)
    return {
        "median_ms": float(np.median(late)),
        "p99_ms": float(np.quantile(late, 0.99)),
        "frames_per_step": float(np.mean(sizes)),
    }
