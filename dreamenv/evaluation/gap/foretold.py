"""What the world model foretells of an agent's real episodes, and of held-out rollouts."""

from __future__ import annotations

import numpy as np

from dreamenv.evaluation.gap.dreams import Dreams
from dreamenv.evaluation.gap.episodes import Episodes
from dreamenv.evaluation.gap.starts import GapSpawns
from dreamenv.evaluation.metrics.held_out_data import draw_clips
from dreamenv.evaluation.metrics.open_loop import CONTEXT, Clips
from dreamenv.evaluation.metrics.open_loop_evaluation import OpenLoopEvaluation, evaluate_open_loop
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import Windows


class Foretelling:
    """Clips of the same lengths, each imagined by a report's world model and compared.

    Args:
        dreams: whose model imagines.
        spawns: of the report; their frames are watched, and their mean is what a model that
            knows nothing would show.
        count: clips of each set, at most; 0 for none.
        horizon: frames imagined.
        seed: of draws, noise and intervals.
        store: of held-out episodes; None for no clips of rollouts.

    Raises:
        RolloutError: no episode of the store is as long as a clip.
    """

    def __init__(
        self,
        dreams: Dreams,
        spawns: GapSpawns,
        count: int,
        horizon: int,
        seed: int = 0,
        store: RolloutStore | None = None,
    ) -> None:
        self.dreams, self.count, self.horizon, self.seed = dreams, count, horizon, seed
        self.context = spawns.spawns.frames.shape[1]
        self.mean_frame = spawns.spawns.frames.mean((0, 1), np.float64)
        self.store = store if count else None
        # Rollouts are watched for as long as spawns are, where those are short.
        self.watched = min(CONTEXT, self.context)
        if self.store is not None:  # found out now rather than after all episodes
            Windows(self.store, self.watched + horizon)

    @property
    def frames(self) -> int:
        """First frames of an agent's real episodes that are needed."""
        return self.horizon if self.count else 0

    def of_episodes(
        self, spawns: GapSpawns, real: Episodes, *, progress: bool = False
    ) -> OpenLoopEvaluation | None:
        """An agent's real episodes, behind the spawns that they began from.

        None where no clip is asked for, or every episode ends too early.
        """
        clips = _clips_of(spawns, real, self.count, self.horizon)
        return self._evaluate(clips, self.context, progress) if len(clips) else None

    def of_rollouts(self, *, progress: bool = False) -> OpenLoopEvaluation | None:
        """Stretches of the store, if there is one."""
        if self.store is None:
            return None
        length, size = self.watched + self.horizon, self.dreams.model.config.frame_size
        clips = draw_clips(self.store, self.count, length, size, self.seed)
        return self._evaluate(clips, self.watched, progress)

    def _evaluate(self, clips: Clips, context: int, progress: bool) -> OpenLoopEvaluation:
        return evaluate_open_loop(
            self.dreams.model,
            clips,
            self.mean_frame,
            self.dreams.trust,
            self.dreams.denoising_steps,
            context,
            self.seed,
            progress=progress,
        )


def _clips_of(spawns: GapSpawns, real: Episodes, count: int, steps: int) -> Clips:
    """Spawns, and the first `steps` of the real episodes that go on from them, in model time."""
    watched = spawns.spawns
    whole = np.flatnonzero(real.lengths >= steps)[:count]
    taken = real.actions[whole, :steps].reshape(len(whole), steps, *watched.actions.shape[2:])
    before = np.zeros((len(whole), watched.actions.shape[1]))
    return Clips(
        np.concatenate([watched.frames[whole], real.frames[whole, :steps]], 1),
        np.concatenate([watched.actions[whole], taken], 1),
        np.concatenate([before, real.rewards[whole, :steps]], 1),
        spawns.groups[whole],
    )
