"""Questions about targets that went out of view: which colour lies where one was last seen?

A sighting ends with the last frame that may show a trace of the target
(`Sightings.seen`); what counts as elapsed since is therefore never too much. The
question is asked at the sighting's best view, the pose with the most pixels of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dreamenv.core.errors import RolloutError
from dreamenv.evaluation.memory.clips import pose_of
from dreamenv.real.plugin import families, family_of
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.preprocessing import fit_frames

WELL_VISIBLE = 0.01
"""A question is asked about a target that filled at least this share of the frame: 41 of 64²."""
GAP = 15
"""Environment frames out of view that do not end a sighting."""
TOLERANCE = 0.2
"""A distance of d stands for elapsed frames within this share of it."""


class Sightings(Protocol):
    """One target in the T frames of an episode."""

    @property
    def mask(self) -> np.ndarray:
        """(T, H, W) bool: pixels that show the target."""

    @property
    def seen(self) -> np.ndarray:
        """(T,) bool: there may be a trace of it."""

    @property
    def pixels(self) -> np.ndarray:
        """(T,) number of pixels that show the target."""


class Cues(Protocol):
    """What a family of environments tells about the colours of its targets (`Family.cues`)."""

    INFOS: tuple[str, ...]
    """Infos that must have been recorded."""
    NAMES: tuple[str, ...]
    """Name of colour 0, 1, …; target i has colour i."""
    NEAR_COLOUR: float
    """Within what distance `name_colour` names a colour."""
    NO_COLOUR: int
    """What `name_colour` answers where none is near; negative."""

    def target_sightings(self, *args: Any) -> Sightings:
        """Where a target is in frames, seen from positions (T, 2) in directions (T, 2)."""

    def name_colour(self, pixels: np.ndarray, targets: int) -> np.ndarray:
        """Which of the first `targets` colours pixels (…, 3) have, or `NO_COLOUR`."""

    def nearest_colour(self, pixels: np.ndarray, targets: int) -> np.ndarray:
        """Which of the first `targets` colours pixels (…, 3) are nearest to."""


def cues_of(env_id: str) -> Cues:
    """What is known about targets in an environment.

    Raises:
        RolloutError: nothing is.
    """
    family = family_of(env_id)
    if family is None or not family.cues:
        known = [each.name for each in families() if each.cues]
        raise RolloutError(
            f"cue recall asks for the colours of targets, and nothing tells those of {env_id}; "
            f"it is defined for {', '.join(known)}"
        )
    cues: Cues = family.load(family.cues)
    return cues


@dataclass(frozen=True)
class EpisodeView:
    """Every `stride`-th frame of an episode, of the model's frame size, and the targets in it."""

    frames: np.ndarray
    """(t, H, W, 3) uint8."""
    poses: np.ndarray
    """(t, 4) float32."""
    targets: list[Sightings]
    """What is seen of each target."""


@dataclass(frozen=True)
class Question:
    """Which colour lies where a target was last seen?"""

    episode: int
    target: int
    """The answer: target i has colour i."""
    distance: int
    """The nominal distance that the question counts for."""
    watched: int
    """Model frames watched before it is asked."""
    elapsed: int
    """Environment frames from the last trace of the target to the last watched frame."""
    age: int
    """Environment frames from the asked frame to the last watched one; at least `elapsed`."""
    alone: bool
    """Whether no other target was seen after this one, which could tell the answer by exclusion."""
    pose: np.ndarray
    """(4,) from where it is asked."""
    frame: np.ndarray
    """(H, W, 3) uint8, what was seen from there."""
    mask: np.ndarray
    """(H, W) bool, the target's pixels in it."""


def view_episode(
    store: RolloutStore, episode: int, stride: int, size: tuple[int, int]
) -> EpisodeView:
    """Read an episode and find its targets.

    Raises:
        RolloutError: the infos that tell where targets are were not recorded.
    """
    recorded = store.read(episode)
    poses = pose_of(recorded, store, episode)[::stride]
    cues = cues_of(store.env_id)
    missing = [key for key in cues.INFOS if key not in recorded.info]
    if missing:
        raise RolloutError(
            f"{store.path}: episode {episode} was recorded without {' and '.join(missing)}, so "
            "where targets are is unknown; collect with `dreamenv collect --record-info "
            f"{' '.join(cues.INFOS)} ...`"
        )
    frames = fit_frames(recorded.observation[::stride], size)
    places, layout = recorded.info["targets_pos"][0], recorded.info["maze_layout"][0]
    targets = [
        cues.target_sightings(frames, poses[:, :2], poses[:, 2:], place, index, layout)
        for index, place in enumerate(places)
    ]
    return EpisodeView(frames, poses, targets)


def draw_questions(
    view: EpisodeView,
    episode: int,
    stride: int,
    distances: Sequence[int],
    most: int,
    rng: np.random.Generator,
) -> list[Question]:
    """Questions about one episode, ordered by the time at which they are asked.

    Each time a target stays out of view long enough gives one question per distance.

    Args:
        view: the episode.
        episode: its index in the store.
        stride: environment frames per model frame.
        distances: nominal distances in environment frames.
        most: draw at most so many per distance.
        rng: of the draw.
    """
    drawn: list[Question] = []
    for distance in distances:
        possible = [
            _question(view, episode, target, span, asked, stride, distance)
            for target, sightings in enumerate(view.targets)
            for span, until in good_sightings(sightings, view.frames[0, ..., 0].size, stride)
            if (asked := _asked_at(span[1] - 1, until, stride, distance)) is not None
        ]
        chosen = rng.permutation(len(possible))[:most]
        drawn += [possible[i] for i in chosen]
    return sorted(drawn, key=lambda question: question.watched)


def good_sightings(
    sightings: Sightings, frame_pixels: int, stride: int
) -> list[tuple[tuple[int, int], int]]:
    """(first frame, frame after the last) of each good sighting, and when the next one begins."""
    changes = np.flatnonzero(np.diff(np.r_[False, sightings.seen, False]))
    spans: list[tuple[int, int]] = []
    for start, stop in changes.reshape(-1, 2).tolist():
        if spans and (start - spans[-1][1]) * stride <= GAP:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    if not spans:  # it was never in view
        return []
    begins = [start for start, _ in spans[1:]] + [len(sightings.seen)]
    pixels = sightings.pixels
    return [
        (span, until)
        for span, until in zip(spans, begins, strict=True)
        if pixels[span[0] : span[1]].max() >= WELL_VISIBLE * frame_pixels
    ]


def _asked_at(last: int, until: int, stride: int, distance: int) -> int | None:
    """The watched frame in last + 1 … until − 1 that is asked after: `distance` from `last`."""
    asked = min(last + max(1, round(distance / stride)), until - 1)
    off = abs((asked - last) * stride - distance)
    return asked if asked > last and off <= TOLERANCE * distance else None


def _question(
    view: EpisodeView,
    episode: int,
    target: int,
    span: tuple[int, int],
    asked: int,
    stride: int,
    distance: int,
) -> Question:
    sightings = view.targets[target]
    best = span[0] + int(sightings.pixels[span[0] : span[1]].argmax())
    since = slice(span[1], asked + 1)
    others = [other for i, other in enumerate(view.targets) if i != target]
    return Question(
        episode=episode,
        target=target,
        distance=distance,
        watched=asked + 1,
        elapsed=(asked - span[1] + 1) * stride,
        age=(asked - best) * stride,
        alone=not any(other.seen[since].any() for other in others),
        # Copies, so that a question does not keep its whole episode in memory.
        pose=view.poses[best].copy(),
        frame=view.frames[best].copy(),
        mask=sightings.mask[best].copy(),
    )
