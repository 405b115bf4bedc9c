"""`dreamenv export`: write rollouts in a format that others read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from dreamenv.cli import INTERRUPTED
from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.exporters.minari import export_minari, lost
from dreamenv.rollouts.exporters.npz import export_npz
from dreamenv.rollouts.store import RolloutStore


@dataclass(frozen=True)
class Options:
    """What to export, and where."""

    store: Positional[Path]
    """Folder of the rollouts."""
    to: Literal["npz", "minari"]
    """Layout: a .npz file per episode, or a Minari data set."""
    out: Path | None = None
    """Folder to write. A Minari data set goes by default where `minari.load_dataset` finds it."""
    id: str = ""
    """Id of the Minari data set, such as mine/maze-v0."""


def run(options: Options) -> int:
    """Export and say where to; 130 if interrupted."""
    store = RolloutStore(options.store)
    if options.to == "npz":
        if options.id:
            raise RolloutError("--id has no effect on --to npz; leave it out")
        if options.out is None:
            raise RolloutError("say with --out into which folder to write the .npz files")
        if not export_npz(store, options.out):
            print("interrupted; run the same command again to continue")
            return INTERRUPTED
        print(f"{store.num_episodes} episodes are in {options.out}; nothing was lost")
        return 0
    if not options.id:
        raise RolloutError("name the Minari data set with --id, such as --id mine/maze-v0")
    folder = export_minari(store, options.out, options.id)
    if folder is None:
        print("interrupted; nothing was written")
        return INTERRUPTED
    print(f"{store.num_episodes} episodes are in {folder}, as {options.id}")
    for note in lost(store):
        print(f"note: {note}")
    return 0
