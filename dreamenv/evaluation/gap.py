"""The sim-to-real gap of one agent: its returns, and the model's predictions, in both worlds.

Protocol. The agent plays N episodes of H steps in the dream and N of H steps in the real
environment; each world begins its episodes as it does for anybody, the dream from its spawns, the
real one from its resets, so the two sets of returns are independent and not paired. The real
episodes are then shown to the model, twice: whole, asking at each frame whether a reward came,
and as clips, of which it sees the first frames and imagines the rest under the agent's recorded
actions.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.errors import ConfigError
from dreamenv.evaluation.agents import load_agent
from dreamenv.evaluation.bootstrap import Interval, difference_interval, mean_interval
from dreamenv.evaluation.open_loop import (
    CONTEXT,
    HORIZON,
    Clips,
    OpenLoopScores,
    cut_clips,
    join_clips,
    score_open_loop,
)
from dreamenv.evaluation.returns import play
from dreamenv.evaluation.rewards import (
    EventReadings,
    EventScores,
    concatenate,
    read_teacher_forced,
    score_events,
)
from dreamenv.evaluation.worlds import close, make_dream, make_real
from dreamenv.rollouts.windows import model_time
from dreamenv.world_model.checkpoint import read_config

DREAM = "dream"
CLIP_TOLERANCE = 1
"""Steps by which a dreamt reward may miss its real one: two frames often could be the touch."""


@dataclass(frozen=True)
class GapReport:
    """Everything `gap` measured of one agent. See the module for the protocol."""

    agent: str
    """Name: its algorithm, or what it was called by."""
    agent_spec: str
    """What was given to load it."""
    dream_id: str
    real_id: str
    model_of: str
    """Environment that the world model was trained on."""
    horizon: int
    seed: int
    dream_returns: list[float]
    real_returns: list[float]
    real_frames: EventScores
    """Reward events that the model sees in the real episodes."""
    open_loop: OpenLoopScores | None = None
    """None if no episode was long enough for a clip."""
    clip_events: EventScores | None = None
    """Reward events dreamt inside the clips."""
    clips: Clips | None = field(default=None, repr=False)

    @property
    def dream_return(self) -> Interval:
        """Mean return in the dream."""
        return mean_interval(np.array(self.dream_returns), seed=self.seed)

    @property
    def real_return(self) -> Interval:
        """Mean return in the real environment."""
        return mean_interval(np.array(self.real_returns), seed=self.seed)

    @property
    def difference(self) -> Interval:
        """Mean return in the dream minus that in the real environment."""
        a, b = np.array(self.dream_returns), np.array(self.real_returns)
        return difference_interval(a, b, seed=self.seed)


def measure_gap(
    agent: str | Path,
    dream_id: str,
    real_id: str,
    episodes: int,
    horizon: int,
    *,
    seed: int = 0,
    clips: int = 64,
    context: int = CONTEXT,
    clip_horizon: int = HORIZON,
    dream_kwargs: dict[str, Any] | None = None,
    real_kwargs: dict[str, Any] | None = None,
    workers: int = 1,
    progress: bool = True,
) -> GapReport:
    """Play one agent in a dream and in the real environment, and compare.

    Args:
        agent: what `dreamenv.evaluation.agents.load_agent` takes.
        dream_id: id of a dreamt environment.
        real_id: Gymnasium id of the real one, or module:id.
        episodes: episodes on each side.
        horizon: steps of each episode, the same on both sides.
        seed: of starts, actions, clips, noise and bootstrap.
        clips: open-loop clips cut from the real episodes, spread evenly over them.
        context: frames of a clip that the model watches.
        clip_horizon: frames of a clip that it imagines.
        dream_kwargs: for the dream, such as `checkpoint`.
        real_kwargs: for the real environment.
        workers: copies of the real environment played at once. More than one are processes of
            their own, spawned: call this below `if __name__ == "__main__":` in a script.
        progress: show progress bars.

    Raises:
        ConfigError: the two environments or the numbers do not fit each other.
        CheckpointError: no such agent or checkpoint, or an agent of other spaces.
        MissingDependencyError: a part of the real environment is not installed.
        DreamEnvError: a process of the real environment died.
    """
    least = {"episodes": episodes, "horizon": horizon, "context": context}
    for name, value in {**least, "clips": clips, "clip horizon": clip_horizon}.items():
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}")
    if horizon + 1 < context + clip_horizon:
        raise ConfigError(
            f"a clip has {context} + {clip_horizon} frames, an episode of {horizon} steps only "
            f"{horizon + 1}; choose a horizon of at least {context + clip_horizon - 1}"
        )
    with ExitStack() as stack:
        dream = make_dream(dream_id, episodes, horizon, dream_kwargs)
        stack.callback(dream.close)
        player = load_agent(
            agent,
            dream.single_action_space,
            seed,
            observation_space=dream.single_observation_space,
        )
        real = make_real(real_id, dream, horizon, workers, real_kwargs)
        stack.callback(close, real)
        model, spawns, folder = dream.dreamer.model, dream.spawns, dream.dreamer.folder
        size = model.config.frame_size
        titles = [f"{player.name} in {world}" if progress else None for world in ("dream", "real")]
        dreamt = play(dream, player, episodes, horizon, size, seed, titles[0])
        dream_returns = [float(episode.reward.sum()) for episode in dreamt]
        real_returns: list[float] = []
        readings: list[EventReadings] = []
        cut: list[Clips] = []
        lived = play(real, player, episodes, horizon, size, seed, titles[1])
        # Scored as they come: the frames of all episodes together could fill the memory.
        for i, episode in enumerate(lived):
            real_returns.append(float(episode.reward.sum()))
            window = model_time(episode)
            readings.append(read_teacher_forced(model, window))
            share = clips // episodes + (i < clips % episodes)
            room = len(episode) + 2 - context - clip_horizon
            if share and room > 0:
                starts = np.random.default_rng([seed, i]).integers(0, room, share)
                cut.append(cut_clips(window, starts.tolist(), context + clip_horizon, i))
    together = join_clips(cut) if cut else None
    open_loop, clip_events = None, None
    if together is not None:
        # What a dream's frames look like on average; the real ones are the agent's own choice.
        mean_frame = spawns.frames.mean((0, 1), np.float64)
        open_loop = score_open_loop(
            model, together, mean_frame, {DREAM: dream.steps}, context, seed, progress=progress
        )
        clip_events = score_events(open_loop.events[DREAM], CLIP_TOLERANCE)
    return GapReport(
        agent=player.name,
        agent_spec=str(agent),
        dream_id=dream_id,
        real_id=real_id,
        model_of=str(read_config(folder)[1].get("env_id")),
        horizon=horizon,
        seed=seed,
        dream_returns=dream_returns,
        real_returns=real_returns,
        real_frames=score_events(concatenate(readings, axis=1)),
        open_loop=open_loop,
        clip_events=clip_events,
        clips=together,
    )
