"""Export as a Minari data set in HDF5, with raw frames: nothing of an episode is lost.

Minari's time is ours: `actions[t]` leads from `observations[t]` to `observations[t+1]`. What Minari
cannot say of a Discrete space is its dtype: int64 there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.spaces import Dict, Discrete, Tuple
from numpy.typing import NDArray

from dreamenv.core.action_rows import columns_of, parts_of
from dreamenv.core.errors import RolloutError
from dreamenv.core.interruption import stop_requested
from dreamenv.core.progress import progress_bar
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.minari import POLICY, PROVENANCE
from dreamenv.rollouts.importers.source import missing
from dreamenv.rollouts.store import RolloutStore


def export_minari(
    store: RolloutStore, out: Path | None, dataset_id: str, progress: bool = True
) -> Path | None:
    """Write a store as a Minari data set; it appears when it is whole.

    Args:
        store: the rollouts.
        out: folder of the data set, which must not exist or be empty; by default where Minari keeps
            those of this machine, so that `minari.load_dataset(dataset_id)` finds it.
        dataset_id: as Minari names data sets, "namespace/name-v0".
        progress: show a progress bar.

    Returns:
        Its folder; None if it was interrupted, and nothing is left.

    Raises:
        MissingDependencyError: Minari is not installed.
        RolloutError: the id is none, or there is such a data set already.
        OSError: the disk is full.
    """
    try:
        import h5py  # noqa: F401 - which Minari asks for only when it writes
        import minari
        from minari.dataset.minari_dataset import parse_dataset_id
        from minari.dataset.minari_storage import MinariStorage
        from minari.storage.datasets_root_dir import get_dataset_path
    except ImportError:
        raise missing("Minari", "minari", "writing its data sets") from None
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise RolloutError(
            f"{dataset_id!r} is no id of a Minari data set; write --id namespace/name-v0"
        ) from None
    # Minari does not find the files of a relative folder.
    folder = (get_dataset_path(dataset_id) if out is None else out).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RolloutError(f"{folder} exists already; choose another --out or --id")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    (made / "data").mkdir()
    try:
        with stop_requested() as stop, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an environment that is not registered here
            storage = MinariStorage.new(
                made / "data",
                observation_space=store.observation_space,
                action_space=store.action_space,
                env_spec=_spec(store.env_id),
                data_format="hdf5",
                jpeg_encoding=False,
            )
            about = {"dataset_id": dataset_id, "minari_version": minari.__version__}
            about["description"] = f"rollouts of {store.env_id}"
            storage.update_metadata({**about, "dreamenv": store.metadata})
            for index in progress_bar(
                range(store.num_episodes), "export", "episode", show=progress
            ):
                if stop.is_set():
                    return None
                episode = store.read(index)
                storage.update_episodes([_buffer(episode, store.action_space)])
                storage.update_episode_metadata([_about(episode)], [index])
        made.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def lost(store: RolloutStore) -> list[str]:
    """What a Minari data set of these rollouts cannot say."""
    space = store.action_space
    if isinstance(space, Discrete) and space.dtype != "int64":
        return [f"the actions' space is of {space.dtype}; Minari's is of int64"]
    return []


def _buffer(episode: Episode, space: gymnasium.Space) -> Any:
    from minari.data_collector import EpisodeBuffer

    nested: dict[str, Any] = {}
    for key, values in episode.info.items():
        *outer, name = key.split("/")
        place = nested
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = values
    arrays: dict[str, Any] = {  # they do as well as the lists that Minari asks for
        "observations": episode.observation,
        "actions": episode.action,
        "rewards": episode.reward,
        "terminations": episode.terminated,
        "truncations": episode.truncated,
    }
    if isinstance(space, Tuple | Dict):
        arrays["actions"] = _nested(space, iter(columns_of(space, episode.action)))
    return EpisodeBuffer(seed=episode.seed, infos=nested, **arrays)


def _nested(space: gymnasium.Space, columns: Iterator[tuple[gymnasium.Space, NDArray]]) -> Any:
    """Actions of a Tuple or Dict, nested as it is, with an array at every leaf."""
    if not isinstance(space, Tuple | Dict):
        leaf, values = next(columns)
        return values.astype(leaf.dtype)
    found = {key: _nested(part, columns) for key, part in parts_of(space)}
    return found if isinstance(space, Dict) else tuple(found.values())


def _about(episode: Episode) -> dict[str, str]:
    about = {POLICY: episode.policy}
    if episode.provenance is not None:
        about[PROVENANCE] = json.dumps(episode.provenance.to_plain())
    return about


def _spec(env_id: str) -> Any:
    """The specification of an environment that is registered here; None of others."""
    try:
        return gymnasium.spec(env_id)
    except Exception:  # whatever an id that names a module meets
        return None
