"""Which signal knows best when a dream is wrong? Compared on episodes not used for calibration.

Every signal is calibrated alike, on one store, and tested on another:
- `spearman`: its rank correlation with the squared error of the frame (the same as with PSNR, with
  the sign turned), and `spearman_relative` with the error in units of the mean frame's there;
- `spearman_at_fixed_age`: the first within frames of equal age, averaged over ages: what it knows
  beyond the clock, to which every dream of the same age is alike;
- `auc`: the chance that it ranks a frame of less than 20 dB above one of more;
- `calibration_error`: frames in ten bins of equal count by trust, the difference of mean trust and
  share explained, averaged; above 0 by chance in small samples;
- `r2`: the share of the variance of errors (in units of the mean frame's) that trust foretells;
- `cost`: seconds to read it per second of a dream's step, in 16 slots.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from dreamenv.core.machine import synchronize
from dreamenv.core.statistics import statistic_interval
from dreamenv.dream.trust import Trust, trust_horizon
from dreamenv.evaluation.metrics.correlation import spearman
from dreamenv.evaluation.metrics.open_loop import CONTEXT
from dreamenv.evaluation.trust.calibrate import (
    CLIPS,
    ENCODED,
    HORIZON,
    NOW,
    SECOND,
    TOTAL,
    Readings,
    calibrate,
    distance,
    encode,
    fit_curve,
    mean_frame,
    prepare,
    read_dreams,
)
from dreamenv.world_model.model import WorldModel

POOR = 1e-2
"""Squared error of a frame of 20 dB."""
BINS = 10
SLOTS = 16
RESAMPLES = 200
THRESHOLDS = (0.3, 0.5, 0.7)


def compare_stores(
    folder: str | Path,
    rollouts: str | Path,
    test: str | Path,
    clips: int = CLIPS,
    context: int = CONTEXT,
    horizon: int = HORIZON,
    seed: int = 0,
    *,
    spans: tuple[int, ...],
    device: str = "auto",
    progress: bool = False,
) -> tuple[Trust, dict[str, Any]]:
    """Calibrate on one store, test on another.

    Arguments and errors are those of `calibrate_checkpoint`; `test` is the other store, and
    signals are scored over the first `spans` imagined frames.

    Returns:
        The calibration, which is not saved, and the comparison as plain data.
    """
    model, fitted, about = prepare(folder, rollouts, clips, context, horizon, seed, device)
    _, tested, other = prepare(folder, test, clips, context, horizon, seed, device)
    flat = mean_frame(fitted)
    first = read_dreams(model, fitted, flat, context, seed, costly=True, progress=progress)
    second = read_dreams(model, tested, flat, context, seed, costly=True, progress=progress)
    trust = calibrate(first, about)
    by_signal = {
        name: _trust(first, first.signals[name], second.signals[name]) for name in (TOTAL, NOW)
    }
    return trust, {
        "calibration": about,
        "test": other,
        "curve": {"uncertainty": trust.uncertainty, "explained": trust.explained},
        "signals": compare(first, second, spans, seed),
        "cost_of_reading_per_step": costs(model, trust),
        "bins": calibration_bins(second, by_signal[TOTAL]),
        "drift": drift(second, by_signal[TOTAL], seed),
        "trusted_by_half_but_worse_than_the_mean_frame": {
            name: surely_wrong(second, values, seed) for name, values in by_signal.items()
        },
        "truncated_at_trust": truncated(second, by_signal[TOTAL], seed),
    }


def compare(
    calibration: Readings,
    test: Readings,
    spans: tuple[int, ...],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Score every signal over the first `spans` imagined frames; plain data with intervals."""
    result: dict[str, Any] = {}
    for name, signal in test.signals.items():
        trust = _trust(calibration, calibration.signals[name], signal)
        result[name] = {
            f"first {span} frames": _score(
                test.steps(span), signal[:, :span], trust[:, :span], seed, resamples
            )
            for span in spans
        }
    return result


def _trust(calibration: Readings, fitted: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Trust by a signal (n, horizon), whose calibration is fitted to the same of another store."""
    curve = fit_curve(fitted.ravel(), calibration.error.ravel(), calibration.mean_error.ravel())
    return np.interp(signal, *curve)


def _score(
    test: Readings, signal: np.ndarray, trust: np.ndarray, seed: int, resamples: int
) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for name, statistic in STATISTICS.items():
        interval = statistic_interval(
            lambda i, s=statistic: s(  # type: ignore[misc]
                Readings({}, test.error[i], test.mean_error[i], test.episodes[i]),
                signal[i],
                trust[i],
            ),
            test.episodes,
            resamples,
            seed,
        )
        scores[name] = interval.to_json()
    return scores


def auc(signal: np.ndarray, positive: np.ndarray) -> float | None:
    """The chance that the signal is higher at a positive than at a negative; ties count half."""
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return None
    above = rankdata(signal)[positive.ravel()].sum() - count * (count + 1) / 2
    return float(above / (count * others))


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _at_fixed_age(test: Readings, signal: np.ndarray, trust: np.ndarray) -> float | None:
    found = spearman(signal.T, test.error.T)
    known = np.isfinite(found)
    return float(found[known].mean()) if known.any() else None


def calibration_bins(test: Readings, trust: np.ndarray) -> list[dict[str, float]]:
    """Frames in ten bins of equal count by trust: mean trust and the share really explained."""
    bins = np.array_split(np.argsort(trust, axis=None, kind="stable"), BINS)
    scale = test.mean_error.mean()
    error, trust = test.error.ravel() / scale, trust.ravel()
    return [
        {"trust": float(trust[part].mean()), "explained": float(1 - error[part].mean())}
        for part in bins
    ]


def _calibration_error(test: Readings, signal: np.ndarray, trust: np.ndarray) -> float:
    # Trust ends at 0, and so does what it is compared with: worse than the mean frame is no more
    # than not to be trusted.
    bins = calibration_bins(test, trust)
    return float(np.mean([abs(b["trust"] - max(0.0, b["explained"])) for b in bins]))


def _r2(test: Readings, signal: np.ndarray, trust: np.ndarray) -> float:
    explained = 1 - test.error / test.mean_error.mean()
    return float(1 - np.square(explained - trust).mean() / explained.var())


STATISTICS: dict[str, Callable[[Readings, np.ndarray, np.ndarray], float | None]] = {
    "spearman": lambda test, signal, trust: _defined(spearman(signal.ravel(), test.error.ravel())),
    "spearman_relative": lambda test, signal, trust: _defined(
        spearman(signal.ravel(), (test.error / test.mean_error).ravel())
    ),
    "spearman_at_fixed_age": _at_fixed_age,
    "auc": lambda test, signal, trust: auc(signal, test.error > POOR),
    "calibration_error": _calibration_error,
    "r2": _r2,
}


def drift(test: Readings, trust: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """What dreams lose as they go on, and whether trust follows; lists begin with frame 1.

    Horizons are steps before the mean falls below one half: of trust, and of what is explained.
    """
    explained = 1 - test.error.mean(0) / test.mean_error.mean()
    return {
        "explained": explained.tolist(),
        "trust": trust.mean(0).tolist(),
        "psnr_db": (-10 * np.log10(test.error.clip(1e-10))).mean(0).tolist(),
        NOW: test.signals[NOW].mean(0).tolist(),
        "trust_horizon": statistic_interval(
            lambda i: trust_horizon(trust[i].mean(0)), test.episodes, seed=seed
        ).to_json(),
        "real_horizon": statistic_interval(
            lambda i: trust_horizon(1 - test.error[i].mean(0) / test.mean_error[i].mean()),
            test.episodes,
            seed=seed,
        ).to_json(),
    }


def surely_wrong(test: Readings, trust: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The share of the frames trusted by half or more that is worse than the mean frame."""

    def share(rows: np.ndarray) -> float | None:
        trusted = trust[rows] >= 0.5
        wrong = test.error[rows] > test.mean_error[rows]
        return float(wrong[trusted].mean()) if trusted.any() else None

    return statistic_interval(share, test.episodes, seed=seed).to_json()


def truncated(test: Readings, trust: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """What ending dreams at a least trust keeps, beside ending them all at the same age.

    Kept are the frames before trust first falls below the threshold. The clock keeps as many: it
    ends every dream at the mean length so found, a fraction of a step counting as a weight.
    """
    return {f"{threshold}": _truncated_at(threshold, test, trust, seed) for threshold in THRESHOLDS}


def _truncated_at(threshold: float, test: Readings, trust: np.ndarray, seed: int) -> dict[str, Any]:
    horizon = trust.shape[1]
    kept = np.logical_and.accumulate(trust >= threshold, 1).astype(float)
    age = np.arange(horizon)

    def clock(rows: np.ndarray) -> np.ndarray:
        length = kept[rows].sum(1).mean()
        return np.broadcast_to(np.clip(length - age, 0, 1), kept[rows].shape)

    def explained(rows: np.ndarray, weights: np.ndarray) -> float | None:
        if not weights.any():
            return None
        error = (weights * test.error[rows]).sum()
        return float(1 - error / (weights.sum() * test.mean_error.mean()))

    def gain(rows: np.ndarray) -> float | None:
        by_trust, by_clock = explained(rows, kept[rows]), explained(rows, clock(rows))
        return None if by_trust is None or by_clock is None else by_trust - by_clock

    def poor(rows: np.ndarray, weights: np.ndarray) -> float | None:
        below = test.error[rows] > POOR
        return float((weights * below).sum() / weights.sum()) if weights.any() else None

    statistics: dict[str, Callable[[np.ndarray], float | None]] = {
        "mean_length": lambda rows: float(kept[rows].sum(1).mean()),
        "untruncated": lambda rows: float(kept[rows][:, -1].mean()),
        "explained": lambda rows: explained(rows, kept[rows]),
        "explained_by_clock": lambda rows: explained(rows, clock(rows)),
        "explained_above_clock": gain,
        "below_20_db": lambda rows: poor(rows, kept[rows]),
        "below_20_db_by_clock": lambda rows: poor(rows, clock(rows)),
    }
    return {
        name: statistic_interval(statistic, test.episodes, seed=seed).to_json()
        for name, statistic in statistics.items()
    }


@torch.no_grad()
def costs(model: WorldModel, trust: Trust, repeats: int = 30) -> dict[str, float]:
    """Time to read a signal, in units of a dream's step in 16 slots; medians of one run."""
    noise = torch.randn(model.noise_shape(SLOTS)).to(model.device)
    known = model.config.actions
    actions = torch.zeros(SLOTS, dtype=torch.int64, device=model.device)
    if not known.discrete:
        actions = torch.zeros(SLOTS, len(known.low), device=model.device)
    frames, _, state = model.imagine(model.initial_state(SLOTS), actions, noise)
    before = torch.zeros(SLOTS, device=model.device)

    def step() -> None:
        nonlocal state
        _, _, state = model.imagine(state, actions, noise, reuse=True)

    parts: dict[str, Callable[[], Any]] = {
        "step": step,
        TOTAL: lambda: trust(model, state, before),
        SECOND: lambda: model.imagine(state.clone(), actions, noise, reuse=True),
        ENCODED: lambda: distance(model, encode(model, frames), state.latents),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, part in parts.items():
            synchronize(model.device)
            began = time.perf_counter()
            part()
            synchronize(model.device)
            seconds[name].append(time.perf_counter() - began)
    alone = float(np.median(seconds.pop("step")))
    return {name: float(np.median(times)) / alone for name, times in seconds.items()}
