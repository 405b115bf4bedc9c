"""Minari's data sets, by id or folder, HDF5 or Arrow.

Time: as here. `actions[t]`, `rewards[t]` and the flags **follow** frame t, of which there is one
more. Frames that Minari stored as JPEG, its default, are lossy; what is stored is what it decodes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dreamenv.core.errors import DreamEnvError, RolloutError
from dreamenv.core.reading import parse_json
from dreamenv.rollouts.actions import rows_of
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.building import build
from dreamenv.rollouts.importers.columns import Column, infos_of
from dreamenv.rollouts.importers.source import Item, Said, missing
from dreamenv.rollouts.pictures import PICTURE, Picture
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.spaces import require_action_space, require_image_space
from dreamenv.rollouts.timing import Stands

STANDS = Stands.FOLLOWS
POLICY, PROVENANCE = "dreamenv_policy", "dreamenv_provenance"
"""Entries of an episode's metadata that our own export writes."""


class MinariData:
    """The episodes of one data set."""

    uses: ClassVar[frozenset[str]] = frozenset({"env", "image_key", "action_space", "policy"})

    def __init__(self, place: str | Path, said: Said) -> None:
        self._data = data = open_minari(place)
        self._picture = Picture.of(data.observation_space, said.image_key)
        self.observation_space = require_image_space(self._picture.space)
        self.action_space = said.space or require_action_space(data.action_space)
        self.env_id = said.env or (data.env_spec.id if data.env_spec else str(data.id))
        told = data.storage.metadata
        self._policy = said.policy or str(told.get("algorithm_name", ""))
        self._where = str(data.storage.data_path)
        self.details: dict[str, Any] = {
            "actions": STANDS.value,
            "dataset_id": data.id,
            "minari_version": str(data.minari_version),
            "jpeg": bool(data.storage.jpeg_encoding),
            PICTURE: self._picture.told,
        }
        for name in ("author", "code_permalink", "description"):
            if told.get(name):
                self.details[name] = str(told[name])
        self._left: set[str] = set()

    def items(self) -> Iterator[Item]:
        """The episodes in Minari's order."""
        for number in self._data.episode_indices.tolist():
            yield Item(str(number), partial(self._load, number))

    def notes(self) -> list[str]:
        """What is lossy, and infos left out."""
        notes = []
        if self.details["jpeg"]:
            notes.append("Minari stored these frames as JPEG: they are not the environment's own")
        if self._left:
            left = ", ".join(sorted(self._left))
            notes.append(f"infos left out, because they have no number per frame: {left}")
        return notes

    def _load(self, number: int) -> Episode:
        where = f"{self._where}: episode {number}"
        storage = self._data.storage
        try:
            (read,) = storage.get_episodes([number])
            (about,) = storage.get_episode_metadata([number])
        except Exception as error:  # of damaged bytes Minari raises whatever it meets first
            field = _first_damaged(self._where, number)
            raise RolloutError(f"{where}: {field} cannot be read: {error!r}") from error
        try:
            seen = Column(where, "observations", self._picture(read["observations"]))
            rows = rows_of(self._data.action_space, read["actions"], (len(read["rewards"]),))
        except DreamEnvError as error:
            raise RolloutError(f"{where}: {error}") from error
        read["actions"] = rows
        frames = seen.frames(self.observation_space)
        count = len(frames)

        def steps(name: str) -> Column:
            return Column(where, name, np.asarray(read[name])).steps(count, STANDS)

        flat = {key: Column(where, key, values) for key, values in _flat(read["infos"] or {})}
        info, left = infos_of(flat, count)
        self._left.update(left)
        episode = build(
            frames,
            steps("actions").actions(self.action_space),
            steps("rewards").rewards(),
            steps("terminations").flags(),
            steps("truncations").flags(),
            info,
            str(about.get(POLICY, self._policy)),
            _seed(about.get("seed")),
        )
        with contextlib.suppress(ValueError, KeyError):
            episode.provenance = Provenance.from_plain(parse_json(str(about[PROVENANCE])))
        return episode


def open_minari(place: str | Path) -> Any:
    """The data set of an id that is on this machine, or in a folder.

    Raises:
        MissingDependencyError: Minari is not installed, or what it reads this data set with.
        RolloutError: there is no such data set, or it cannot be read.
    """
    try:
        import minari
    except ImportError:
        raise missing("Minari", "minari", "reading its data sets") from None
    folder = Path(place)
    if (folder / "data" / "metadata.json").exists():
        folder = folder / "data"
    try:
        if (folder / "metadata.json").exists():
            return minari.MinariDataset(folder)
        return minari.load_dataset(str(place))
    except ImportError as error:
        package, extra = ("pyarrow", "lerobot") if "pyarrow" in str(error) else ("h5py", "minari")
        raise missing(package, extra, f"reading {place}") from error
    except FileNotFoundError as error:
        raise RolloutError(
            f"there is no Minari data set {place} on this machine; get it with "
            f"`minari download {place}`, or give its folder"
        ) from error
    except DreamEnvError:
        raise
    except Exception as error:  # Minari has no errors of its own
        raise RolloutError(f"{place} is no Minari data set that can be read: {error!r}") from error


def _flat(infos: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, values in infos.items():
        if isinstance(values, Mapping):
            yield from _flat(values, f"{before}{key}/")
        else:
            yield f"{before}{key}", np.asarray(values)


def _seed(seed: Any) -> int | None:
    return int(seed) if seed is not None and -(2**63) <= int(seed) < 2**63 else None


def _first_damaged(folder: str, number: int) -> str:
    """The first field of an episode in an HDF5 file that cannot be read."""
    file = Path(folder) / "main_data.hdf5"
    if not file.exists():
        return "it"
    import h5py

    fields = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
    try:
        with h5py.File(file, "r") as opened:
            group = opened[f"episode_{number}"]
            for field in fields:
                try:
                    stored = group[field]
                    whole = [stored] if isinstance(stored, h5py.Dataset) else []
                    if not whole:
                        stored.visititems(lambda _, part: whole.append(part))  # noqa: B023
                    for part in whole:
                        if isinstance(part, h5py.Dataset):
                            part[()]
                except (KeyError, OSError):
                    return field
    except (KeyError, OSError):
        pass
    return "it"
