"""Film strips of the worst cases of a gap report: what the dream showed while it paid."""

from __future__ import annotations

import numpy as np

from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.dream_player import dream_again
from dreamenv.evaluation.gap.episodes import Episodes
from dreamenv.evaluation.gap.exploitation import Exploitation
from dreamenv.evaluation.metrics.film_strip import paid_strip

AROUND = 5
"""Steps shown before and after a reward that the real environment does not confirm."""


def unconfirmed_strips(
    case: Exploitation,
    dream: DreamVectorEnv,
    rounds: Episodes,
    reached: np.ndarray,
    replayed: list[Episodes],
    count: int,
    seed: int,
) -> list[np.ndarray]:
    """Pictures of the largest rewards that the real environment does not confirm.

    Args:
        case: rewards of an agent's n dreamt episodes, and of the same actions in reality.
        dream: the one that it played in.
        rounds: its dreamt episodes from all spawns.
        reached: (n,) which of these are those of `case`.
        replayed: its n real episodes under the dreamt actions, with frames where the dream paid.
        count: pictures at most.
        seed: that was played with.

    Returns:
        Pictures (height, width, 3) uint8, worst first.
    """
    pictures = []
    for episode, step in case.worst(count):
        frames, _ = dream_again(dream, rounds, int(reached[episode]), seed)
        part = slice(max(0, step - AROUND), step + AROUND + 1)
        pictures.append(
            paid_strip(
                frames[part],
                replayed[episode].frames[0, part],
                case.dream[episode, part],
                case.real[episode, part],
                part.start + 1,
            )
        )
    return pictures
