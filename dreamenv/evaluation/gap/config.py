"""What a gap report is to measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from dreamenv.core.backends import LOCAL, Backend
from dreamenv.core.deprecation import renamed_arguments
from dreamenv.core.errors import ConfigError
from dreamenv.core.ranges import require_ranges
from dreamenv.evaluation.gap.exploitation import TOLERANCE
from dreamenv.evaluation.gap.transfer import Contender
from dreamenv.real.plugin import default_dream


@renamed_arguments(real_id="real", dream_id="dream")
@dataclass(frozen=True)
class GapConfig:
    """A gap report; `docs/gap.md` is its protocol.

    Raises:
        ConfigError: no agent, or a number out of range.
    """

    agents: tuple[str, ...]
    """Reported in full: saved agents (file or run folder), random, sticky:0.9, forward:0.6, wall,
    seek."""
    real: str
    """Gymnasium id of the real environment, or module:id."""
    dream: str = default_dream()
    """Gymnasium id of the dream."""
    population: tuple[str, ...] = ()
    """More agents, for the ranking only."""
    spawns: int = 64
    """Places from which every agent plays once in each world."""
    horizon: int = 64
    """Steps from each."""
    rollouts: str | Path | None = None
    """A rollout store of held-out episodes to draw spawns and clips from; None takes the
    checkpoint's spawns."""
    latest_start: int | None = 128
    """Step of its real episode at which a spawn begins at the latest: the real environment has
    to be brought there."""
    near_rewards: float = 0.0
    """Share of the spawns drawn from `rollouts` that end shortly before a reward."""
    match_tolerance: float = 0.0
    """Mean difference of grey levels up to which the real environment's frame is the spawn's."""
    clips: int = 64
    """Clips to foretell, of each agent's real episodes and of `rollouts`; 0 for none."""
    clip_horizon: int = 32
    """Frames of a clip that are imagined."""
    exploitation: bool = True
    """Take the agents' dreamt actions in the real environment."""
    tolerance: int = TOLERANCE
    """Steps by which a dreamt reward may miss its real one to be confirmed."""
    strips: int = 4
    """Worst cases shown of each agent, at most."""
    transfer: tuple[Contender, ...] = ()
    """Agents to compare in full real episodes, each written LABEL=AGENT."""
    transfer_real: tuple[str, ...] = ()
    """Real environments for that; empty: `real`."""
    real_episodes: int = 16
    """Full episodes of each agent in each of them."""
    real_horizon: int | None = None
    """Steps of a full episode; None: to the environment's own limit."""
    life: str | Path | None = None
    """Folder that `dreamenv life` wrote for the same checkpoint: the page shows it too."""
    dream_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the dream, such as its checkpoint."""
    real_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the real environment, as its rollouts were collected with."""
    seed: int = 0
    """Seed of spawns, noise, agents and intervals."""
    workers: int = 1
    """Copies of the real environment; more than one are processes of their own, spawned: measure
    below `if __name__ == "__main__":` in a script."""
    where: Annotated[Backend, arg(name="")] = LOCAL
    """Where they run."""
    trust_agent: bool = False
    """Load zips of Stable-Baselines3, though that runs whatever code their authors put there;
    agents that dreamenv saved are plain data and need no trust."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        least = {"spawns": 1, "horizon": 1, "clips": 0, "clip_horizon": 1, "tolerance": 0}
        least |= {"strips": 0, "real_episodes": 1, "workers": 1, "seed": 0, "match_tolerance": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(
                    f"{name.replace('_', ' ')} must be at least {value}, not {getattr(self, name)}"
                )
        finite = {"latest_start": 0, "match_tolerance": 0.0}
        require_ranges(self, finite, shares=("near_rewards",), optional=("latest_start",))
        if not self.agents:
            raise ConfigError("give at least one agent to report on")
        if self.clips and self.clip_horizon > self.horizon:
            raise ConfigError(
                f"clips of {self.clip_horizon} imagined frames are cut from episodes of only "
                f"{self.horizon} steps; choose a clip horizon of at most the horizon, or 0 clips"
            )
        if self.real_horizon is not None and self.real_horizon < 1:
            raise ConfigError(f"real horizon must be at least 1, not {self.real_horizon}")
