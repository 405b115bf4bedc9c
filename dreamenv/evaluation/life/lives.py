"""Does a dream live? Its frames over a whole episode beside the real ones of the same steps.

The model watches the first frames of a clip and imagines the rest under the recorded actions. Of
each frame only numbers are kept, and the frames themselves of a few steps for a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import Interval, mean_interval, ratio_interval
from dreamenv.evaluation.life.classifier import telling_apart
from dreamenv.evaluation.life.clips import LongClips
from dreamenv.evaluation.life.distance import distances
from dreamenv.evaluation.life.dreaming import Dream
from dreamenv.evaluation.life.features import Looks, look_at, stack_looks
from dreamenv.evaluation.life.windows import StepWindow, step_windows
from dreamenv.evaluation.memory.imagination import watch
from dreamenv.evaluation.metrics.rewards import EventReadings, concatenate, event_readings
from dreamenv.evaluation.metrics.similarity import psnr_of
from dreamenv.world_model.model import WorldModel

TOLD_APART = 16
"""Frames of each clip and window, at most, that the classifier is fitted to."""
PER = 1000
"""Rewards are told per so many steps."""
SHOWN = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
"""Imagined steps in a picture; the last one is the dream's last."""
PICTURED = 3
"""Clips in a picture: the first ones, none is chosen."""


@dataclass(frozen=True)
class Film:
    """Frames of a few steps of the first clips."""

    steps: tuple[int, ...]
    real: np.ndarray
    """(clips, steps, H, W, C) uint8."""
    dreamt: np.ndarray
    """The same, as imagined."""


@dataclass(frozen=True)
class Lives:
    """What was seen of n clips in h imagined steps; arrays (n, h, …)."""

    dreamt: Looks
    real: Looks
    psnr: np.ndarray
    """dB, against the recorded future."""
    rewards: EventReadings
    episodes: np.ndarray
    """(n,) which episode each clip is from."""
    film: Film
    seed: int

    @property
    def horizon(self) -> int:
        """h."""
        return self.psnr.shape[1]

    def to_json(self) -> list[dict[str, Any]]:
        """A row for each window of steps, as plain data."""
        scale = self.real.features.reshape(-1, self.real.features.shape[-1]).std(0)
        return [self._row(window, scale) for window in step_windows(self.horizon)]

    def psnr_at(self, steps: tuple[int, ...]) -> dict[str, Any]:
        """PSNR at single steps, as far as the dream went."""
        return {
            str(step): self._mean(self.psnr[:, step - 1]).to_json()
            for step in steps
            if step <= self.horizon
        }

    def _row(self, window: StepWindow, scale: np.ndarray) -> dict[str, Any]:
        part, picks = window.columns, window.picks(TOLD_APART)
        dreamt, real, told = self.dreamt, self.real, self.rewards
        fake, true = dreamt.of_steps(picks), real.of_steps(picks)
        return {
            "steps": list(window),
            "sharpness": self._ratio(dreamt.sharpness, real.sharpness, part),
            "motion": self._ratio(dreamt.motion, real.motion, part),
            "distance": distances(
                dreamt.features[:, part], real.features[:, part], self.episodes, scale, self.seed
            ),
            "real_or_dreamt_auc": telling_apart(fake, true, self.episodes, self.seed),
            "psnr_db": self._mean(self.psnr[:, part].mean(1)).to_json(),
            "reward": {
                name: self._mean(PER * values[:, part].mean(1)).to_json()
                for name, values in (
                    ("expected", told.expected),
                    ("likeliest", told.likeliest),
                    ("real", told.received),
                )
            },
        }

    def _ratio(self, above: np.ndarray, below: np.ndarray, part: slice) -> dict[str, Any]:
        sums = above[:, part].sum(1), below[:, part].sum(1)
        return ratio_interval(*sums, self.episodes, seed=self.seed).to_json()

    def _mean(self, values: np.ndarray) -> Interval:
        return mean_interval(values, self.episodes, seed=self.seed)


def watch_lives(
    model: WorldModel,
    clips: LongClips,
    passes: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Lives:
    """Imagine every clip to its end.

    Args:
        model: the world model.
        clips: what to watch, and under which actions to go on.
        passes: denoising passes per frame, None for the checkpoint's.
        seed: of the noise; a clip's depends on it and on the clip's number alone.
        progress: show a progress bar.
    """
    dreamt: list[Looks] = []
    real: list[Looks] = []
    similar: list[np.ndarray] = []
    rewards: list[EventReadings] = []
    films: list[Film] = []
    title = f"lives, {passes or 'own'} passes"
    bar = progress_bar(title=title, unit="frame", total=len(clips) * clips.horizon, show=progress)
    for first, batch in clips.batches():
        count, context = len(batch), clips.context
        state = watch(model, batch.frames[:, :context], batch.actions[:, :context])
        dream = Dream(model, state, [(seed, first + i) for i in range(count)], passes)
        before = batch.frames[:, context - 1]
        shown = [step for step in SHOWN if step < clips.horizon] + [clips.horizon]
        kept, looks, equal, told = [], [], [], []
        for t in range(context, context + clips.horizon):
            frames, outcome = dream.step(batch.actions[:, t])
            looks.append(look_at(frames, before))
            equal.append(psnr_of(frames, batch.frames[:, t]))
            arrived = batch.rewards[:, t : t + 1]
            told.append(event_readings(outcome[:, None], arrived, model.config.rewards))
            if t - context + 1 in shown:
                kept.append(frames[:PICTURED])
            before = frames
            bar.update(count)
        dreamt.append(stack_looks(looks))
        real.append(_real_looks(batch.frames, context))
        similar.append(np.stack(equal, 1))
        rewards.append(concatenate(told, axis=1))
        columns = [context + step - 1 for step in shown]
        truth = batch.frames[:PICTURED, columns]
        films.append(Film(tuple(shown), truth, np.stack(kept, 1)))
    bar.close()
    return Lives(
        _join(dreamt),
        _join(real),
        np.concatenate(similar),
        concatenate(rewards, axis=0),
        clips.episodes,
        films[0],
        seed,
    )


def _real_looks(frames: np.ndarray, context: int) -> Looks:
    """Looks (b, h, …) of the real frames (b, context + h, …) that are not watched."""
    rows = [look_at(clip[context:], clip[context - 1 : -1]) for clip in frames]
    return _join([Looks(*(x[None] for x in vars(row).values())) for row in rows])


def _join(parts: list[Looks]) -> Looks:
    """Looks of several batches, one after the other."""
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Looks(*(np.concatenate(column) for column in columns))
