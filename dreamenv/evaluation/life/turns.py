"""Does a dream keep its own world? Turn away, rest, turn back, rest: the same view again?

The last frame is compared with the frame before the turn: the dream against itself, so it may
be another world than the real one, but it must stay the same. Beside it stand what chance gives,
the last frame against the first of a dream from another episode, and what the real environment
gives, where it can be brought to the same places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import mean_interval
from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.life.config import TURNS
from dreamenv.evaluation.life.dreaming import BATCH, Dream, forgotten, kinds_of
from dreamenv.evaluation.memory.imagination import watch
from dreamenv.evaluation.metrics.similarity import psnr_of
from dreamenv.real.plugin import family_of
from dreamenv.world_model.model import WorldModel

REST = 4
"""Steps of rest before the first frame, after turning away, and before the last frame."""
FORGETS_AT = 16
"""The turn that is done once more without each kind of memory."""


@dataclass(frozen=True)
class Turn:
    """Actions that turn `steps` steps to the left and back."""

    steps: int
    actions: np.ndarray
    """(t,) int64."""

    @property
    def first(self) -> int:
        """Column of the frame to come back to."""
        return REST - 1

    @property
    def away(self) -> int:
        """Column of the last frame before it turns back."""
        return 2 * REST + self.steps - 1


def turns_of(env_id: str, lengths: tuple[int, ...] = TURNS) -> list[Turn]:
    """Turns in an environment; none where its family does not name actions for them."""
    family = family_of(env_id)
    if family is None or not family.turning:
        return []
    left, right, rest = (family.actions.index(name) for name in family.turning)
    return [
        Turn(n, np.repeat([rest, left, rest, right, rest], [REST, n, REST, n, REST]))
        for n in lengths
    ]


@dataclass(frozen=True)
class Turned:
    """First and last frames of one turn from n places."""

    steps: int
    first: np.ndarray
    """(n, H, W, C) uint8."""
    last: np.ndarray

    def similarity(self) -> np.ndarray:
        """(n,) dB of the last frame against the first."""
        return psnr_of(self.last, self.first)

    def chance(self, groups: np.ndarray) -> np.ndarray | None:
        """(n,) dB of the last frame against another episode's first; None if there is but one."""
        other = others(groups)
        return None if other is None else psnr_of(self.last, self.first[other])


def others(groups: np.ndarray) -> np.ndarray | None:
    """For each of n measurements the next one of another group, (n,); None if there is none."""
    count = len(groups)
    if len(np.unique(groups)) < 2:
        return None
    found = [
        next(j % count for j in range(i + 1, i + count) if groups[j % count] != groups[i])
        for i in range(count)
    ]
    return np.array(found)


def dream_turns(
    model: WorldModel,
    spawns: Spawns,
    turns: list[Turn],
    passes: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[int, dict[str, Turned]]:
    """Turn away and back in dreams from every spawn.

    Returns:
        Steps of the turn → kind of memory that was set to zero before turning back, "" for none
        → frames. All turns of a place begin from the same memory and noise.
    """
    found: dict[int, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    title = f"turns, {passes or 'own'} passes"
    work = [(start, turn) for start in range(0, len(spawns), BATCH) for turn in turns]
    bar = progress_bar(title=title, unit="turn", total=len(work), show=progress)
    for start in range(0, len(spawns), BATCH):
        part = slice(start, start + BATCH)
        frames, actions = spawns.frames[part], spawns.actions[part]
        watched = watch(model, frames, actions)
        seeds = [(seed, start + i) for i in range(len(frames))]
        for turn in turns:
            kinds = ["", *kinds_of(watched)] if turn.steps == FORGETS_AT else [""]
            for kind in kinds:
                dream = Dream(model, watched.clone(), seeds, passes)
                shown = _turn(dream, turn, kind)
                found.setdefault(turn.steps, {}).setdefault(kind, []).append(shown)
            bar.update()
    bar.close()
    return {
        steps: {
            kind: Turned(steps, *(np.concatenate(parts) for parts in zip(*pairs, strict=True)))
            for kind, pairs in by_kind.items()
        }
        for steps, by_kind in found.items()
    }


def _turn(dream: Dream, turn: Turn, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The frame before the turn and the one after it."""
    first = frames = np.empty(0)
    slots = dream.state.slots
    for t, action in enumerate(turn.actions):
        frames, _ = dream.step(np.full(slots, action))
        if t == turn.first:
            first = frames
        if t == turn.away and kind:
            dream.state = forgotten(dream.model, dream.state, kind)
    return first, frames


def turns_to_json(
    dreamt: dict[int, dict[str, Turned]],
    real: dict[int, np.ndarray],
    groups: np.ndarray,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each turn, plain data with intervals over episodes (n,).

    `lost_db`: what a turn scores with its memory, minus without each kind of it, place by place.
    """

    def mean(values: np.ndarray | None) -> dict[str, Any] | None:
        return None if values is None else mean_interval(values, groups, seed=seed).to_json()

    rows = []
    for steps, by_kind in dreamt.items():
        whole = by_kind[""].similarity()
        rows.append(
            {
                "steps": steps,
                "dream": mean(whole),
                "chance": mean(by_kind[""].chance(groups)),
                "real": mean(real.get(steps)),
                "lost_db": {
                    kind: mean(whole - turned.similarity())
                    for kind, turned in by_kind.items()
                    if kind
                },
            }
        )
    return rows
