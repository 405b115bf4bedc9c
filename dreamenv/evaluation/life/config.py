"""What is to be measured of a dream's life."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.core.ranges import require_ranges

TURNS = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class LifeConfig:
    """Measures of a checkpoint on held-out episodes; `docs/life.md` explains them.

    Raises:
        ConfigError: a number out of range.
    """

    checkpoint: str
    """Checkpoint folder, or bundled:NAME."""
    rollouts: Path
    """Store of held-out episodes, best as long as the environment's own."""
    denoising_steps: tuple[int, ...] = ()
    """Denoising passes per frame to compare; empty: the checkpoint's."""
    clips: int = 16
    """Stretches that are dreamt on under the recorded actions."""
    context: int = 24
    """Frames watched before a dream begins."""
    horizon: int = 1000
    """Steps dreamt, or as many as the longest episode has."""
    revisits: int = 32
    """Stretches that come back to a view watched long ago, if poses were recorded; 0 for none."""
    cues: bool = True
    """Ask for colours of targets that come back into view, where their places were recorded."""
    places: int = 16
    """Places where the dream turns away and back."""
    turns: tuple[int, ...] = TURNS
    """Steps of turning away."""
    agents: tuple[str, ...] | None = None
    """Agents that play in closed loop; None: random and the scripted ones of the environment."""
    episodes: int = 8
    """Episodes of each, from the first of the places; 0 for none."""
    real: bool = True
    """Play in the real environment too."""
    real_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the real environment, as its rollouts were collected with."""
    latest_start: int = 128
    """Step of its episode at which a place begins at the latest: the real environment has to be
    brought there."""
    match_tolerance: float = 0.0
    """Mean difference of grey levels up to which the real environment's frame is the place's."""
    trust_agent: bool = False
    """Load zips of Stable-Baselines3, though that runs whatever code their authors put there;
    agents that dreamenv saved are plain data and need no trust."""
    seed: int = 0
    """Of places, noise, agents and intervals."""
    device: str = "auto"
    """Torch device."""
    dtype: str = "auto"
    """Of matrix products: float32, bfloat16, or the faster of the two."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        ones = dict.fromkeys(("clips", "context", "horizon", "places"), 1)
        zeros = dict.fromkeys(("revisits", "episodes", "latest_start", "seed"), 0)
        require_ranges(self, ones | zeros | {"match_tolerance": 0.0})
        for name in ("turns", "denoising_steps"):
            if min(getattr(self, name), default=1) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
