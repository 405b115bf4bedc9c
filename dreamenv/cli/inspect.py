"""`dreamenv inspect`: describe a rollout store and draw some of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import contact_sheet, describe


@dataclass(frozen=True)
class Options:
    """What to describe."""

    path: Positional[Path]
    """Folder of the store."""
    image: Path | None = None
    """PNG to write a sheet of frames to, an episode per row."""
    window: int = 48
    """Frames of a training window, to say what share of the episodes fills one."""


def run(options: Options) -> int:
    """Print the description and write the sheet if asked for."""
    store = RolloutStore(options.path)
    print(describe(store, options.window))
    if options.image:
        options.image.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(store).save(options.image)
        print(f"\nframes of several episodes, one per row: {options.image}")
    return 0
