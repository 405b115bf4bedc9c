"""`DreamState`: everything that the future of a batch of dreams depends on, as a value."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.core.errors import CheckpointError, EnvironmentUsageError
from dreamenv.core.files import atomic_write_bytes
from dreamenv.core.reading import parse_json, read_bytes
from dreamenv.dream.random_streams import seeded
from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.state import State
from dreamenv.world_model.tensor_files import pack_tensors, unpack_tensors

VERSION = 1
MOST_BYTES = 2**34
"""Of a saved dream; what is read is never more than the file has."""
ARRAYS = ("frames", "elapsed", "ended", "spawns")
TENSORS = ("features", "uncertainty")


@dataclass(frozen=True)
class DreamState:
    """N dreams at one moment. Nothing that happens in an environment later changes it.

    Set in an environment of the same checkpoint, device, dtype and number of slots, it goes on
    bit by bit as the one it was taken from, through ends of episodes too.
    """

    memory: State
    """What the world model remembers."""
    features: Tensor
    """(N, feature_size) float32, as shown with `observation="memory"`."""
    uncertainty: Tensor
    """(N,) float32."""
    frames: NDArray[np.uint8]
    """(N, H, W, C): the present frames."""
    elapsed: NDArray[np.int64]
    """(N,): steps since the episode's beginning."""
    ended: NDArray[np.bool_]
    """(N,): the episode is over and its slot has not begun another."""
    spawns: NDArray[np.int64]
    """(N,): index of the spawn that the episode began from, −1 for a context of the caller's."""
    sources: tuple[dict[str, Any] | None, ...]
    """The real rollout that each spawn was cut from."""
    generators: tuple[dict[str, Any], ...]
    """State of the NumPy bit generator of each slot."""
    fingerprint: str
    """SHA-256 of the weights that dreamt."""

    def __len__(self) -> int:
        """Number of slots."""
        return len(self.elapsed)

    @isolated
    def select(self, index: int | slice | list[int] | NDArray) -> Self:
        """The slots `index`, in that order; an index may repeat.

        Raises:
            IndexError: there is no such slot.
        """
        rows = np.atleast_1d(np.arange(len(self))[index])
        picked = torch.from_numpy(rows).to(self.uncertainty.device)
        return dataclasses.replace(
            self,
            memory=self.memory.select(picked),
            **{name: getattr(self, name)[picked] for name in TENSORS},
            **{name: getattr(self, name)[rows] for name in ARRAYS},
            sources=tuple(self.sources[row] for row in rows),
            generators=tuple(self.generators[row] for row in rows),
        )

    @classmethod
    @isolated
    def join(cls, states: Sequence[Self]) -> Self:
        """The slots of several states of one checkpoint, one after another.

        Raises:
            EnvironmentUsageError: there is none, or they are of different weights.
        """
        if len({state.fingerprint for state in states}) != 1:
            raise EnvironmentUsageError(
                "states are joined that were dreamt by the same weights, one or more of them; "
                f"these are {len(states)} by {len({state.fingerprint for state in states})} models"
            )
        parts: dict[str, Any] = {
            name: torch.cat([getattr(state, name) for state in states]) for name in TENSORS
        }
        parts |= {name: np.concatenate([getattr(s, name) for s in states]) for name in ARRAYS}
        return dataclasses.replace(
            states[0],
            memory=State.join([state.memory for state in states]),
            **parts,
            sources=tuple(source for state in states for source in state.sources),
            generators=tuple(one for state in states for one in state.generators),
        )

    def repeat(self, n: int) -> Self:
        """Every slot n times: the copies of slot i are slots i · n … i · n + n − 1.

        Raises:
            EnvironmentUsageError: n is less than 1.
        """
        if n < 1:
            raise EnvironmentUsageError(f"a dream forks into 1 or more, not {n}")
        return self.select(np.repeat(np.arange(len(self)), n))

    def reseed(self, seed: int) -> Self:
        """The same dreams with other futures: slot i draws from now on as seeded with seed + i.

        Raises:
            EnvironmentUsageError: the seed is no integer of at least 0.
        """
        streams = [seeded(seed, i) for i in range(len(self))]
        states = tuple(dict(stream.bit_generator.state) for stream in streams)
        return dataclasses.replace(self, generators=states)

    def save(self, path: str | Path) -> None:
        """Write one file: tensors and plain data (safetensors), nothing executable.

        Raises:
            OSError: the file cannot be written; an older one stays as it was.
        """
        tensors = {f"memory.{name}": tensor for name, tensor in self.memory.named_tensors()}
        tensors |= {name: getattr(self, name) for name in TENSORS}
        tensors |= {name: torch.from_numpy(getattr(self, name)) for name in ARRAYS}
        about = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "grows": self.memory.grows,
            "memory": [name for name, _ in self.memory.named_tensors()],
            "generators": self.generators,
            "sources": self.sources,
        }
        stored = {name: tensor.cpu() for name, tensor in tensors.items()}
        atomic_write_bytes(path, pack_tensors(stored, {"dream": json.dumps(about)}))

    @classmethod
    @isolated
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; its tensors are on the CPU.

        Raises:
            CheckpointError: there is no such file, or it is damaged or something else.
        """
        try:
            tensors, metadata = unpack_tensors(read_bytes(path, MOST_BYTES))
            about = parse_json(metadata["dream"])
            if about["version"] != VERSION:
                raise ValueError(f"its version is {about['version']}, not {VERSION}")
            parts: dict[str, Any] = {name: tensors[name] for name in TENSORS}
            parts |= {name: tensors[name].numpy() for name in ARRAYS}
            return cls(
                memory=_memory(tensors, about["memory"], about["grows"]),
                **parts,
                sources=tuple(about["sources"]),
                generators=tuple(about["generators"]),
                fingerprint=about["fingerprint"],
            )
        except FileNotFoundError:
            raise CheckpointError(f"there is no saved dream at {path}") from None
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is no saved dream, or damaged: {error!r}") from error


def _memory(tensors: dict[str, Tensor], names: list[str], grows: bool) -> State:
    """The memory whose parts are called `memory.layers.INDEX.NAME`, `memory.landmarks.NAME`, and
    `memory.NAME`.

    `names` tells their order, which a file does not keep and `State.merge` relies on.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    landmarks: dict[str, Tensor] = {}
    parts = {}
    for name in names:
        kind, *place = name.split(".")
        if kind == "layers":
            layers.setdefault(int(place[0]), {})[place[1]] = tensors[f"memory.{name}"]
        elif kind == "landmarks":
            landmarks[place[0]] = tensors[f"memory.{name}"]
        else:
            parts[name] = tensors[f"memory.{name}"]
    listed = [layers[i] for i in range(len(layers))]
    return State(listed, grows=grows, landmarks=landmarks, **parts)
