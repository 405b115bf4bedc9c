"""Is a target's colour remembered under actions? Targets that come back into view in a dream.

The model watches an episode from its first frame until just before a target, which was well in
view before and then out of it, shows again, and imagines on under the recorded actions until it is
well in view. The mean colour of the dreamt frame, in the pixels that really show the target, is
named; none of the targets' colours near counts as wrong. Chance is the most frequent answer.
Models that are conditioned by pose are asked more by `dreamenv.evaluation.memory.cue_recall`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import mean_interval
from dreamenv.evaluation.life.dreaming import BATCH, EVERYTHING, Dream, forgotten
from dreamenv.evaluation.memory.cue_questions import (
    WELL_VISIBLE,
    Cues,
    EpisodeView,
    cues_of,
    good_sightings,
    view_episode,
)
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.state import State

HORIZON = 16
"""Imagined steps, at most, from the first trace of the target until it is well in view."""
AGES = ((50, 100), (101, 200), (201, 500), (501, 1000))
"""Frames out of view, first and last of each row."""
PIECE = 64
"""Frames watched at once."""


@dataclass(frozen=True)
class Return:
    """A target that comes back into view."""

    episode: int
    target: int
    """The answer: target i has colour i."""
    watched: int
    """Frames before the dream begins."""
    steps: int
    """Imagined steps until the target is well in view."""
    elapsed: int
    """Frames from its last trace to the last watched one."""
    mask: np.ndarray
    """(H, W) bool: the pixels that then show it."""


@dataclass(frozen=True)
class CueReturns:
    """n returns, and which target's colour was dreamt."""

    returns: list[Return]
    named: dict[str, np.ndarray]
    """Kind of memory that was set to zero, "" for none → (n,) colours; negative: none near."""
    seed: int

    def to_json(self, ages: Sequence[tuple[int, int]] = AGES) -> list[dict[str, Any]]:
        """A row for each span of ages that was found, plain data with intervals over episodes."""
        elapsed = np.array([each.elapsed for each in self.returns])
        answer = np.array([each.target for each in self.returns])
        episode = np.array([each.episode for each in self.returns])
        rows = []
        for first, last in ages:
            here = (first <= elapsed) & (elapsed <= last)
            if not here.any():
                continue
            rows.append(
                {
                    "ages": [first, last],
                    "questions": int(here.sum()),
                    "episodes": len(np.unique(episode[here])),
                    "chance": float(np.bincount(answer[here]).max() / here.sum()),
                    "right": {
                        f"without {kind}" if kind else "whole memory": mean_interval(
                            (named == answer)[here], episode[here], seed=self.seed
                        ).to_json()
                        for kind, named in self.named.items()
                    },
                    "no_colour": float((self.named[""][here] < 0).mean()),
                }
            )
        return rows


def find_returns(view: EpisodeView, episode: int, least: int = AGES[0][0]) -> list[Return]:
    """Targets of an episode that come back after `least` frames or more, in order of time."""
    pixels, found = view.frames[0, ..., 0].size, []
    for target, sightings in enumerate(view.targets):
        for span, until in good_sightings(sightings, pixels, 1):
            well = np.flatnonzero(
                sightings.pixels[until : until + HORIZON] >= WELL_VISIBLE * pixels
            )
            if until - span[1] < least or not len(well):
                continue
            asked = until + int(well[0])
            mask = sightings.mask[asked].copy()
            elapsed = until - span[1]
            found.append(Return(episode, target, until, int(well[0]) + 1, elapsed, mask))
    return sorted(found, key=lambda each: each.watched)


def dream_returns(
    model: WorldModel,
    store: RolloutStore,
    passes: Sequence[int | None],
    seed: int = 0,
    progress: bool = False,
) -> dict[int | None, CueReturns]:
    """Ask in every episode, each watched once, with each number of passes.

    Raises:
        RolloutError: the environment's targets are not known, or their places were not recorded.
    """
    cues = cues_of(store.env_id)
    returns: list[Return] = []
    named: dict[int | None, dict[str, list[np.ndarray]]] = {
        each: {"": [], EVERYTHING: []} for each in passes
    }
    for episode in progress_bar(range(store.num_episodes), "cues", "episode", show=progress):
        view = view_episode(store, episode, 1, model.config.frame_size)
        actions = model_time(store.read(episode), store.action_space).action
        asked = find_returns(view, episode)
        for part, state in _watch(model, view.frames, actions, asked):
            for each in passes:
                for kind, parts in named[each].items():
                    memory = forgotten(model, state, kind) if kind else state.clone()
                    seeds = [(seed, len(returns) + i) for i in range(len(part))]
                    dream = Dream(model, memory, seeds, each)
                    parts.append(_answers(dream, part, actions, cues, len(view.targets)))
            returns += part
    return {
        each: CueReturns(
            returns,
            {k: np.concatenate(v) if v else np.empty(0, np.int64) for k, v in by_kind.items()},
            seed,
        )
        for each, by_kind in named.items()
    }


def _watch(
    model: WorldModel, frames: np.ndarray, actions: np.ndarray, asked: list[Return]
) -> Iterator[tuple[list[Return], State]]:
    """Watch an episode once; returns in batches, with the memory in which each dream begins."""
    state, done = model.initial_state(1), 0
    for first in range(0, len(asked), BATCH):
        part = asked[first : first + BATCH]
        memories = model.initial_state(len(part))
        for slot, each in enumerate(part):
            for start in range(done, each.watched, PIECE):
                piece = slice(start, min(start + PIECE, each.watched))
                shown, given = (torch.from_numpy(x[None, piece]) for x in (frames, actions))
                state, _ = model.observe(state, shown.to(model.device), given.to(model.device))
            done = each.watched
            memories = memories.put([slot], state)
        yield part, memories


def _answers(
    dream: Dream, part: list[Return], actions: np.ndarray, cues: Cues, targets: int
) -> np.ndarray:
    """The colour that each dream shows where its target must be, (n,)."""
    colours = np.zeros((len(part), 3))
    last = len(actions) - 1
    for step in range(1, max(each.steps for each in part) + 1):
        # Dreams that have come to their end go on, and nobody looks.
        rows = [min(each.watched + step - 1, last) for each in part]
        frames, _ = dream.step(actions[rows])
        for i, each in enumerate(part):
            if each.steps == step:
                colours[i] = frames[i][each.mask].mean(0)
    return cues.name_colour(colours, targets)
