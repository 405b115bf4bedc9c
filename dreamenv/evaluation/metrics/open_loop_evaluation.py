"""Open-loop evaluation: how well a world model foretells frames and rewards of real clips.

The model watches the first frames of each clip and imagines the rest under the recorded actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dreamenv.core.statistics import Interval, mean_interval, ratio_interval
from dreamenv.dream.trust import Trust, trust_horizon
from dreamenv.evaluation.metrics.calibration import calibration
from dreamenv.evaluation.metrics.film_strip import film_strip
from dreamenv.evaluation.metrics.open_loop import (
    BATCH,
    CONTEXT,
    MEAN,
    Clips,
    OpenLoopScores,
    score_open_loop,
)
from dreamenv.evaluation.metrics.reward_sums import reward_sum_errors
from dreamenv.evaluation.metrics.rewards import (
    EventReadings,
    concatenate,
    event_readings,
    score_events,
)
from dreamenv.evaluation.metrics.similarity import lpips_missing
from dreamenv.evaluation.trust.calibrate import TOTAL, read_dreams
from dreamenv.world_model.model import WorldModel

DREAM = "dream"
TOLERANCE = 1
"""Steps by which a dreamt reward may miss its real one: two frames often could be the touch."""
THRESHOLD = 0.5
"""Share of the mean frame's error that a dream must do without to be followed."""


@dataclass(frozen=True)
class OpenLoopEvaluation:
    """A world model on one set of clips: frames, rewards and trust, imagined against recorded."""

    loop: OpenLoopScores
    clips: Clips
    seen: EventReadings
    """What the model says of rewards while it sees the real frames that it else imagines."""
    trust: np.ndarray | None
    """(n, horizon): the calibrated trust in each imagined frame; None without calibration."""
    trust_missing: str
    """Why there is none."""
    seed: int

    @property
    def explained(self) -> Interval:
        """Share of the mean frame's squared error that the dream does without, by step."""
        dream, flat = (10 ** (-self.loop.psnr[name] / 10) for name in (DREAM, MEAN))
        return ratio_interval(flat - dream, flat, self.clips.episodes, seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; curves begin with the first imagined frame."""
        loop, seed, groups = self.loop, self.seed, self.clips.episodes
        dreamt = loop.events[DREAM]
        explained = self.explained
        return {
            "clips": len(self.clips),
            "episodes": len(np.unique(groups)),
            "context": loop.context,
            "horizon": dreamt.score.shape[1],
            "psnr_db": loop.curves("psnr", seed),
            "ssim": loop.curves("ssim", seed),
            "lpips": loop.curves("lpips", seed) or None,
            "lpips_missing": lpips_missing(),
            "psnr_db_above": loop.margins(DREAM, seed),
            "explained": explained.to_json(),
            "explained_horizon": {
                "threshold": THRESHOLD,
                "steps": trust_horizon(explained.mean, THRESHOLD),
                "surely_better_than_mean_frame": (
                    None if explained.low is None else trust_horizon(explained.low, 1e-9)
                ),
            },
            "trust": self._trust_to_json(),
            "trust_missing": self.trust_missing or None,
            "reward_sums": reward_sum_errors(dreamt, groups, seed),
            "reward_events": {
                "seen": score_events(self.seen).to_json(),
                "dreamt": score_events(dreamt, TOLERANCE).to_json(),
            },
            "calibration": {
                "seen": calibration(self.seen, groups, seed),
                "dreamt": calibration(dreamt, groups, seed),
            },
        }

    def picture(self, clips: int = 2) -> np.ndarray:
        """The first clips, real above dreamt, (height, width, 3) uint8; none is chosen."""
        dreamt = self.loop.dreamt[:clips]
        return film_strip(self.clips.frames[: len(dreamt)], dreamt, self.loop.context)

    def _trust_to_json(self) -> dict[str, Any] | None:
        if self.trust is None:
            return None
        curve = mean_interval(self.trust, self.clips.episodes, seed=self.seed)
        return {
            "mean": curve.to_json(),
            "horizon": trust_horizon(curve.mean, THRESHOLD),
            "off_by": float(np.abs(curve.mean - np.clip(self.explained.mean, 0, 1)).mean()),
        }


def evaluate_open_loop(
    model: WorldModel,
    clips: Clips,
    mean_frame: np.ndarray,
    trust: Trust,
    steps: int | None = None,
    context: int = CONTEXT,
    seed: int = 0,
    *,
    progress: bool = False,
) -> OpenLoopEvaluation:
    """Evaluate a world model in open loop: imagine every clip and compare.

    Args:
        model: the world model.
        clips: of more than `context` frames.
        mean_frame: (H, W, C), 0 … 255; what a model that knows nothing would show.
        trust: calibrated for these denoising passes, or not at all.
        steps: denoising passes per frame; None takes the checkpoint's.
        context: frames watched.
        seed: of noise and intervals.
        progress: show progress bars.
    """
    loop = score_open_loop(
        model, clips, mean_frame, {DREAM: steps}, context, seed, progress=progress
    )
    told = None
    if trust.calibrated:
        dreams = read_dreams(model, clips, mean_frame, context, seed, progress=progress)
        told = trust.of(torch.from_numpy(dreams.signals[TOTAL]).float()).double().numpy()
    return OpenLoopEvaluation(loop, clips, _seen(model, clips, context), told, trust.missing, seed)


def _seen(model: WorldModel, clips: Clips, context: int) -> EventReadings:
    """Rewards read from the real frames after the first `context`."""
    parts = []
    for start in range(0, len(clips), BATCH):
        part = slice(start, start + BATCH)
        frames = torch.from_numpy(clips.frames[part]).to(model.device)
        actions = torch.from_numpy(clips.actions[part]).to(model.device)
        _, outcome = model.observe(model.initial_state(len(frames)), frames, actions)
        after = outcome[:, context:]
        parts.append(event_readings(after, clips.rewards[part, context:], model.config.rewards))
    return concatenate(parts, axis=0)
