"""Cue recall: which colour is the target in the room last seen d frames ago?

The model watches real episodes from their first frame on, poses given. At times when some target
has been out of view for about d environment frames it is asked for the best pose from which
it was last seen, without the answer entering its memory, in two ways:

probe: a linear map reads the colour off the features that the model computes there from pure
noise and its memory. The map is fitted on half of the episodes and scored on the other half.
decode: the model imagines the frame; its mean colour in the target's real pixels is named.

Chance is the most frequent answer. Both are done once more with a memory that saw nothing
("control"): what pose and walls alone would tell. Reading the colour off the tokenizer's
reconstruction of the real frame ("reconstruction") bounds what decoding can reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import CONFIDENCE, mean_interval
from dreamenv.evaluation.memory.cue_questions import (
    GAP,
    TOLERANCE,
    WELL_VISIBLE,
    Cues,
    EpisodeView,
    Question,
    cues_of,
    draw_questions,
    view_episode,
)
from dreamenv.evaluation.memory.probe import cross_fitted
from dreamenv.evaluation.metrics.held_out_data import describe_store
from dreamenv.evaluation.metrics.open_loop import reconstruct
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.dynamics import Stream
from dreamenv.world_model.preprocessing import to_uint8
from dreamenv.world_model.state import State

DISTANCES = (50, 100, 200, 500, 1000)
"""In environment frames."""
PIECE = 64
"""Most frames watched by one call; answers do not depend on it."""


class Answers(NamedTuple):
    """What a memory shows and computes at the poses of n questions."""

    images: np.ndarray
    """(n, H, W, C) uint8."""
    features: np.ndarray
    """(n, d)."""


@dataclass(frozen=True)
class CueRecall:
    """Questions asked and the answers read, (n,) arrays; a colour is the target that has it."""

    about: dict[str, Any]
    """Data and protocol, as plain data."""
    names: tuple[str, ...]
    """Of the colours there are to choose from."""
    distances: tuple[int, ...]
    episode: np.ndarray
    target: np.ndarray
    """The right answer."""
    distance: np.ndarray
    """The entry of `distances` that a question counts for."""
    elapsed: np.ndarray
    """Environment frames since the last trace of the target."""
    age: np.ndarray
    """Environment frames since the asked frame."""
    alone: np.ndarray
    """Whether no other target was seen since; else the answer might be found by exclusion."""
    read: dict[str, np.ndarray]
    """Way of reading → answers. `probe`, `probe control`, `decode`, `decode nearest`,
    `decode nearest control`, `reconstruction`. `nearest` chooses the likest colour however far it
    is; otherwise `Cues.NO_COLOUR` where none is near, which counts as wrong."""
    psnr: dict[str, np.ndarray]
    """`decode`, `decode control`, `reconstruction` → dB over the target's pixels."""
    seed: int

    def correct(self, way: str) -> np.ndarray:
        """Which questions were answered rightly, (n,) bool."""
        return self.read[way] == self.target

    def to_json(self) -> dict[str, Any]:
        """Everything but the single answers, as plain data."""
        return {
            **self.about,
            "questions": len(self.target),
            "by_distance": [self._summary(distance) for distance in self.distances],
        }

    def _summary(self, distance: int) -> dict[str, Any]:
        here = self.distance == distance
        count = int(here.sum())
        if not count:
            return {"distance": distance, "questions": 0}
        alone = here & self.alone
        return {
            "distance": distance,
            "questions": count,
            "episodes": len(np.unique(self.episode[here])),
            "elapsed_mean": float(self.elapsed[here].mean()),
            "age_mean": float(self.age[here].mean()),
            "answers": self._counts(here),
            "chance": max(self._counts(here).values()) / count,
            "accuracy": {way: self._mean(self.correct(way), here) for way in self.read},
            "no_colour": float((self.read["decode"][here] < 0).mean()),
            "psnr_db": {name: self._mean(values, here) for name, values in self.psnr.items()},
            "no_other_target_seen_since": {
                "questions": int(alone.sum()),
                "answers": self._counts(alone),
                "accuracy": {
                    way: self._mean(self.correct(way), alone) for way in self.read if alone.any()
                },
            },
        }

    def _counts(self, chosen: np.ndarray) -> dict[str, int]:
        counts = np.bincount(self.target[chosen], minlength=len(self.names))
        return {self.names[target]: int(count) for target, count in enumerate(counts)}

    def _mean(self, values: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
        return mean_interval(values[chosen], self.episode[chosen], seed=self.seed).to_json()


def cue_recall(
    model: WorldModel,
    store: RolloutStore,
    stride: int = 1,
    distances: Sequence[int] = DISTANCES,
    queries: int = 8,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = False,
) -> CueRecall:
    """Ask a pose-conditioned world model for the colours of targets out of view.

    Args:
        model: the world model.
        store: rollouts that it never trained on, of a family that has cues, with what they need
            recorded (`Cues.INFOS`). Distances of 500 and more need episodes that
            stay away from a target for that long.
        stride: environment frames per model frame.
        distances: in environment frames; a question counts for one if the target was seen last
            within `TOLERANCE` of it.
        queries: questions per distance and episode, at most; fewer where the episode gives fewer.
        seed: of the questions drawn, the noise, the probe's halves and the bootstrap.
        steps: denoising passes per frame, by default the checkpoint's.
        progress: show a progress bar.

    Raises:
        ConfigError: the model is conditioned on actions, or an argument is impossible.
        RolloutError: the infos are missing, or fewer than two episodes give a question.
    """
    if model.config.conditioning != "pose":
        raise ConfigError(
            "cue recall asks for the view from a given pose, but this model is conditioned on "
            f"{model.config.conditioning}s; train one with --conditioning pose"
        )
    if stride < 1 or queries < 1 or not distances or min(distances) < 1:
        raise ConfigError(
            f"stride, queries and distances must be at least 1: {stride}, {queries}, {distances}"
        )
    cues = cues_of(store.env_id)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    asked: list[Question] = []
    answered: list[Answers] = []
    controls: list[Answers] = []
    targets = 0
    bar = progress_bar(range(store.num_episodes), "cue recall", "episode", show=progress)
    for episode in bar:
        view = view_episode(store, episode, stride, model.config.frame_size)
        targets = max(targets, len(view.targets))
        questions = draw_questions(view, episode, stride, distances, queries, rng)
        if not questions:
            continue
        poses = torch.from_numpy(np.stack([question.pose for question in questions]))
        noise = torch.randn(model.noise_shape(len(questions)), generator=generator)
        for state, due in _watch(model, view, questions):
            answered.append(_ask(model, state, poses[due], noise[due], steps))
        controls.append(_ask(model, model.initial_state(len(questions)), poses, noise, steps))
        asked += questions
    if len({question.episode for question in asked}) < 2:
        raise RolloutError(
            f"{store.path}: fewer than two episodes hold a target that was well in view and then "
            f"out of it for about {' or '.join(map(str, distances))} frames; collect more or "
            "longer episodes, or ask for shorter distances"
        )
    about = {
        "task": "cue recall",
        "data": describe_store(store),
        "stride": stride,
        "denoising_steps": steps or model.config.sampler.steps,
        "distances_within": TOLERANCE,
        "most_questions_per_distance_and_episode": queries,
        "well_visible_share_of_frame": WELL_VISIBLE,
        "sighting_joins_gaps_of_frames": GAP,
        "colour_is_near_within": cues.NEAR_COLOUR,
        "probe": "ridge logistic regression, fitted on half of the episodes, scored on the other",
        "confidence": CONFIDENCE,
        "intervals": "bootstrap over episodes",
        "seed": seed,
    }
    return _read(
        model,
        cues,
        asked,
        _joined(answered),
        _joined(controls),
        targets,
        tuple(distances),
        about,
        seed,
    )


def _watch(
    model: WorldModel, view: EpisodeView, questions: list[Question]
) -> Iterator[tuple[State, slice]]:
    """Watch an episode and stop wherever questions are due; they are ordered by that.

    Yields:
        The memory, once per question due, and which these are.
    """
    state, done = model.initial_state(1), 0
    times = np.array([question.watched for question in questions])
    for watched in np.unique(times).tolist():
        for start in range(done, watched, PIECE):
            piece = slice(start, min(start + PIECE, watched))
            frames, poses = (torch.from_numpy(x[None, piece]) for x in (view.frames, view.poses))
            state, _ = model.observe(state, frames.to(model.device), poses.to(model.device))
        done = watched
        due = slice(*np.searchsorted(times, [watched, watched + 1]).tolist())
        yield state.select([0] * (due.stop - due.start)), due


@torch.no_grad()
def _ask(
    model: WorldModel, state: State, poses: Tensor, noise: Tensor, steps: int | None
) -> Answers:
    """Look from poses (n, 4) with n memories, which stay as they are."""
    poses, noise = poses.to(model.device), noise.to(model.device)
    with model.autocast():
        view = Stream(noise[:, :1], noise.new_zeros(len(noise), 1))
        _, prediction, _ = model.dynamics(state, view, poses.unsqueeze(1), keep=False)
    images, _, _ = model.imagine(state, poses, noise, steps)
    features = prediction.features[:, 0].double().cpu().numpy()
    return Answers(to_uint8(images.float()).cpu().numpy(), features)


def _joined(parts: list[Answers]) -> Answers:
    return Answers(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _read(
    model: WorldModel,
    cues: Cues,
    asked: list[Question],
    answered: Answers,
    controls: Answers,
    targets: int,
    distances: tuple[int, ...],
    about: dict[str, Any],
    seed: int,
) -> CueRecall:
    episode = np.array([question.episode for question in asked])
    target = np.array([question.target for question in asked])

    def probed(features: np.ndarray) -> np.ndarray:
        return cross_fitted(features, target, episode, targets, seed)

    decoded = _reconstructed(model, asked)
    colours = _target_means(answered.images, asked)
    read = {
        "probe": probed(answered.features),
        "probe control": probed(controls.features),
        "decode": cues.name_colour(colours, targets),
        "decode nearest": cues.nearest_colour(colours, targets),
        "decode nearest control": cues.nearest_colour(
            _target_means(controls.images, asked), targets
        ),
        "reconstruction": cues.name_colour(_target_means(decoded, asked), targets),
    }
    psnr = {
        "decode": _target_psnr(answered.images, asked),
        "decode control": _target_psnr(controls.images, asked),
        "reconstruction": _target_psnr(decoded, asked),
    }
    return CueRecall(
        about=about,
        names=tuple(cues.NAMES[:targets]),
        distances=distances,
        episode=episode,
        target=target,
        distance=np.array([question.distance for question in asked]),
        elapsed=np.array([question.elapsed for question in asked]),
        age=np.array([question.age for question in asked]),
        alone=np.array([question.alone for question in asked]),
        read=read,
        psnr=psnr,
        seed=seed,
    )


def _reconstructed(model: WorldModel, asked: list[Question]) -> np.ndarray:
    """The asked frames (n, H, W, C) uint8 through the tokenizer and back."""
    parts = []
    for start in range(0, len(asked), PIECE):
        frames = np.stack([question.frame for question in asked[start : start + PIECE]])
        real = torch.from_numpy(frames).unsqueeze(1).to(model.device)
        parts.append(to_uint8(reconstruct(model, real)[:, 0]).cpu().numpy())
    return np.concatenate(parts)


def _target_means(images: np.ndarray, asked: list[Question]) -> np.ndarray:
    """Mean colour (n, 3) of images (n, H, W, 3) in the pixels that show the target."""
    pairs = zip(images, asked, strict=True)
    return np.stack([image[question.mask].mean(0) for image, question in pairs])


def _target_psnr(images: np.ndarray, asked: list[Question]) -> np.ndarray:
    """Peak signal-to-noise ratio (n,), dB, in the pixels that show the target."""
    squares = [
        np.square(image[question.mask] / 255 - question.frame[question.mask] / 255).mean()
        for image, question in zip(images, asked, strict=True)
    ]
    return -10 * np.log10(np.maximum(squares, 1e-10))
