"""A rollout store as latents and signals on disk, mapped into memory."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.core.locks import locked
from dreamenv.core.progress import progress_bar
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.training.latent_log import EPISODES, LatentLog
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.preprocessing import fit_frames, to_unit

SIGNALS = ("action", "reward", "terminated")


class Rows:
    """The rows of one field for the frames of all episodes of a store, one after the other.

    Indexing, by whatever NumPy takes for the first dimension, gives a copy in memory of the rows
    asked for, and of no others.

    Args:
        mapped: the rows of a log.
        shift: (E,) how much further than in the store each episode's rows stand in the log.
        ends: (E,) the frame behind each episode's last, in the store.
    """

    def __init__(self, mapped: np.ndarray, shift: np.ndarray, ends: np.ndarray) -> None:
        self._mapped, self._shift, self._ends = mapped, shift, ends
        self.dtype, self.shape = mapped.dtype, (int(ends[-1]), *mapped.shape[1:])
        self.ndim = mapped.ndim

    def __len__(self) -> int:
        """Number of frames."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """A copy of some rows."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        index = np.asarray(index)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        if index.size and not (-len(self) <= index.min() and index.max() < len(self)):
            raise IndexError(f"there are rows 0 … {len(self) - 1}")
        index = np.where(index < 0, index + len(self), index)
        if self._shift.any():
            index = index + self._shift[np.searchsorted(self._ends, index, side="right")]
        return np.take(self._mapped, index, axis=0)


class StandardisedRows(Rows):
    """Rows of raw latents (tokens, channels) float16 that are standardised as they are read.

    There are only 65,536 numbers of 16 bits, so that each is standardised once per channel, and
    reading looks them up.

    Args:
        rows: of the raw latents.
        mean: (channels,) that is subtracted, float64.
        std: (channels,) that is divided by.
    """

    def __init__(self, rows: Rows, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__(rows._mapped, rows._shift, rows._ends)
        every = np.arange(2**16, dtype=np.uint16).view(np.float16)
        with np.errstate(all="ignore"):  # there are infinities among them
            self._table = ((every[:, None] - mean) / std).astype(np.float16).T.copy()

    def measure_by(self, scale: np.ndarray, shift: np.ndarray) -> None:
        """Multiply by a scale (channels,) from now on, and then add a shift."""
        with np.errstate(all="ignore"):
            self._table[:] = self._table * scale[:, None] + shift[:, None]

    def __getitem__(self, index: Any) -> np.ndarray:
        """A copy of some rows, standardised, float16."""
        codes = super().__getitem__(index).view(np.uint16)
        found = np.empty(codes.shape, np.float16)
        for channel, values in enumerate(self._table):
            found[..., channel] = values[codes[..., channel]]
        return found


@dataclass
class Encoded:
    """A rollout store as a model with a tokenizer sees it, in model time."""

    latents: StandardisedRows
    """(frames, tokens, channels) float16, standardised per channel."""
    latent_mean: np.ndarray
    """(channels,) float32, what was subtracted."""
    latent_std: np.ndarray
    """(channels,) float32, what was divided by."""
    action: Rows
    reward: Rows
    terminated: Rows

    def restandardise(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Measure latents by another mean and deviation (channels,)."""
        shift, scale = (self.latent_mean - mean) / std, self.latent_std / std
        if shift.any() or (scale != 1).any():
            self.latents.measure_by(scale, shift)
        self.latent_mean, self.latent_std = mean, std


def encoded(store: RolloutStore, model: WorldModel, cache: Path) -> Encoded:
    """The frames of all episodes, one after the other, as the folder `cache` has them.

    Episodes that it does not have under this tokenizer, or only damaged, are encoded and added. Of
    other tokenizers it has nothing any more afterwards. Any number of processes may share it: one
    encodes while others wait for it.

    Raises:
        ConfigError: `cache` is a file.
        OSError: it cannot be written to, or the disk is full; what was encoded stays.
    """
    if cache.is_file():
        raise ConfigError(
            f"{cache} is a file; encoded rollouts are kept in a folder: delete it if an earlier "
            "version made it, or name another one"
        )
    folder = cache / _fingerprint(store, model)
    found = _opened(folder, store)
    if found is None:
        with _alone(cache):
            _encode_missing(folder, store, model)
            _forget_others(cache, folder)
            found = _opened(folder, store, checked=True)
    if found is None:
        raise DreamEnvError(f"{folder} cannot be read again; delete it and run again")
    return found


def _opened(folder: Path, store: RolloutStore, checked: bool = False) -> Encoded | None:
    """All episodes of a store from a log, unless it lacks any; `checked` if just written."""
    log = LatentLog.read(folder)
    if log is None:
        return None
    there = set(log.places) if checked else _usable(log, store)
    if not there.issuperset(store.contents):
        return None
    places = [log.places[name] for name in store.contents]
    frames = np.array([place.frames for place in places])
    ends = np.cumsum(frames)
    shift = np.array([place.row for place in places]) - (ends - frames)
    mapped = log.mapped()
    rows = {name: Rows(mapped[name], shift, ends) for name in ("latents", *SIGNALS)}
    tokens = mapped["latents"].shape[1]
    sums = np.stack([place.numbers for place in places]).sum(0).reshape(2, -1)
    mean, square = sums / (int(ends[-1]) * tokens)
    std = np.sqrt(np.maximum(square - mean**2, 1e-6))
    latents = StandardisedRows(rows["latents"], mean, std)
    measured = mean.astype(np.float32), std.astype(np.float32)
    return Encoded(latents, *measured, *(rows[name] for name in SIGNALS))


def _usable(log: LatentLog, store: RolloutStore) -> set[str]:
    """The episodes of a store that a log has undamaged."""
    intact = log.intact(set(store.contents))
    for name, steps in zip(store.contents, store.lengths.tolist(), strict=True):
        if name in intact and log.places[name].frames != steps + 1:
            intact.discard(name)
    return intact


def _encode_missing(folder: Path, store: RolloutStore, model: WorldModel) -> None:
    log = LatentLog.read(folder)
    there = set() if log is None else _usable(log, store)
    if log is not None and not there and not log.intact(log.places):
        log = None  # nothing in it is of use to anybody
    missing = {name: i for i, name in enumerate(store.contents) if name not in there}
    for name, episode in progress_bar(missing.items(), "encode", "episode"):
        rows = _encode(store, model, episode)
        flat = rows["latents"].reshape(-1, rows["latents"].shape[-1])
        total = flat.sum(0, dtype=np.float64)
        square = np.einsum("nc,nc->c", flat, flat, dtype=np.float64)
        if log is None:
            shutil.rmtree(folder, ignore_errors=True)
            log = LatentLog.create(folder, rows)
        log.append(name, rows, np.concatenate([total, square]))


def _encode(store: RolloutStore, model: WorldModel, episode: int) -> dict[str, np.ndarray]:
    """The rows of an episode: raw latents, and signals in model time."""
    window = model_time(store.read(episode), store.action_space)
    frames = fit_frames(window.frames, model.config.frame_size)
    latents = []
    for start in range(0, len(frames), 256):
        part = torch.from_numpy(frames[start : start + 256]).to(model.device)
        with torch.no_grad(), model.autocast():
            raw = model.tokenizer.encode_raw(to_unit(part))
        latents.append(raw.to("cpu", torch.float16).numpy())
    signals = {name: getattr(window, name) for name in SIGNALS}
    return {"latents": np.concatenate(latents), **signals}


def _fingerprint(store: RolloutStore, model: WorldModel) -> str:
    """A digest that is equal for frames and actions of one kind under one tokenizer and size."""
    spaces = f"{store.observation_space},{store.action_space}"
    about = f"{store.env_id},{spaces},{model.config.frame_size}"
    digest = hashlib.sha256(about.encode())
    for tensor in model.tokenizer.parameters():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Let one process write to a cache at a time, where the file system knows locks."""
    with contextlib.ExitStack() as stack:
        cache.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            stack.enter_context(locked(cache / "writer.lock", wait=True))
        yield


def _forget_others(cache: Path, folder: Path) -> None:
    """Remove what other tokenizers have encoded; who has it mapped keeps it."""
    for other in cache.iterdir():
        ours = re.fullmatch("[0-9a-f]{32}", other.name) and (other / EPISODES).is_file()
        if ours and other != folder:
            shutil.rmtree(other, ignore_errors=True)
