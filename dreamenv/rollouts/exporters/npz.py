"""Export as `.npz` files, an episode each (`dreamenv.rollouts.npz_layout`). Nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.core.files import atomic_write_json, replacing
from dreamenv.core.interruption import stop_requested
from dreamenv.core.progress import progress_bar
from dreamenv.core.reading import is_stray, read_object
from dreamenv.rollouts.npz_layout import DESCRIPTION, FORMAT, VERSION, file_name, write_episode
from dreamenv.rollouts.spaces import space_to_dict
from dreamenv.rollouts.store import RolloutStore


def export_npz(store: RolloutStore, out: Path, progress: bool = True) -> bool:
    """Write every episode of a store to a file of its own; what is there already stays.

    Files are written whole or not at all, so an export that stopped goes on where it was.

    Args:
        store: the rollouts.
        out: folder, made if absent.
        progress: show a progress bar.

    Returns:
        False if it was interrupted.

    Raises:
        RolloutError: the folder holds something else.
        OSError: the disk is full.
    """
    described = json.loads(
        json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "env_id": store.env_id,
                "observation_space": space_to_dict(store.observation_space),
                "action_space": space_to_dict(store.action_space),
                "metadata": store.metadata,
                "first_episode": store.identities[:1],
            }
        )
    )
    path = out / DESCRIPTION
    try:
        if read_object(path) != described:
            raise RolloutError(f"{out} holds an export of other rollouts; choose another --out")
    except FileNotFoundError:
        _require_empty(out)
        atomic_write_json(path, described)
    except UnreadableFileError as error:
        raise RolloutError(f"{error}; choose another --out") from error
    with stop_requested() as stop:
        for index in progress_bar(range(store.num_episodes), "export", "episode", show=progress):
            if stop.is_set():
                return False
            file = out / file_name(index)
            if not file.exists():
                episode = store.read(index)
                with replacing(file) as opened:
                    write_episode(opened, episode)
    return True


def _require_empty(out: Path) -> None:
    if out.is_dir():
        there = [path.name for path in out.iterdir() if not is_stray(path.name)]
        if there:
            raise RolloutError(f"{out} is not empty (it holds {there[0]!r}); choose another --out")
    elif out.exists():
        raise RolloutError(f"{out} is a file; choose a folder")
