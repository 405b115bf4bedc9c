"""`dreamenv new-world`: from an environment that nobody has dreamt to the commands that do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from dreamenv.cli import INTERRUPTED
from dreamenv.core.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """Which environment, and how much may be spent on it."""

    env: Positional[str]
    """Gymnasium id, or module:id."""
    out: Path | None = None
    """Folder for what is collected and for commands.sh; worlds/ID by default."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    image_key: str = ""
    """Entry of the observations that is the frame; may be left out where one alone is a picture."""
    minutes: float = 60.0
    """How long training may take on this machine; what is proposed is sized by it."""
    frames: int = 2000
    """Steps to collect for a look, with each of some policies."""
    updates: int = 3
    """Updates of each stage to measure the training's speed by."""
    seed: int = 0
    """Of the episodes that are collected for a look; the commands use the streams after it."""

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.frames < 100 or self.updates < 1:
            raise ConfigError(
                "minutes must be above 0, frames at least 100 and updates at least 1: "
                f"{self.minutes}, {self.frames}, {self.updates}"
            )


def run(options: Options) -> int:
    """Look at the environment, print what was found, and write the commands."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from dreamenv.evaluation.new_world.look import look_at
    from dreamenv.evaluation.new_world.proposal import propose
    from dreamenv.evaluation.new_world.speed import speed_of

    out = options.out or Path("worlds") / options.env.rpartition(":")[2]
    look = look_at(
        options.env, options.env_kwargs, options.frames, out, options.seed, options.image_key
    )
    if look is None:
        print("interrupted; run the same command again to continue")
        return INTERRUPTED
    for line in look.lines():
        print(line)
    print("measuring how fast this machine trains …")
    proposal = propose(look, speed_of(look, out, options.updates), out, options.minutes)
    for line in proposal.lines():
        print(line)
    path = proposal.write(out, options.seed)
    print(f"\nThe commands, written to {path}:\n")
    print(proposal.script(options.seed))
    return 0
