"""World models are loaded for dreaming once per process, however many environments share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dreamenv.core.device import pick_device
from dreamenv.core.errors import CheckpointError
from dreamenv.core.process import LOADING
from dreamenv.core.progress import waiting
from dreamenv.dream.arguments import a_folder, device_name, one_of
from dreamenv.dream.spawns import SPAWNS, Spawns, load_spawns
from dreamenv.dream.start_states import StartStates
from dreamenv.dream.trust import TRUST, Trust
from dreamenv.world_model.checkpoint import (
    CONFIG,
    WEIGHTS,
    checkpoint_folder,
    load_checkpoint,
    read_config,
)
from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.pose_tracker import PoseTracker

DTYPES = ("auto", "float32", "bfloat16")
FILES = (CONFIG, WEIGHTS, SPAWNS, TRUST)
PATIENCE = 3
"""How often a checkpoint is read that changes meanwhile."""


@dataclass(frozen=True)
class LoadedWorldModel:
    """A world model that is ready to dream, with what lies beside its weights.

    Spawns and trust are read when they are asked for. The model stays what it is if the files in
    its folder are replaced while it dreams.
    """

    model: WorldModel
    """The network, in the precision that it dreams in."""
    folder: Path
    """The checkpoint that it was loaded from."""
    fingerprint: str
    """SHA-256 of the weights, by which a saved dream knows the model it belongs to."""
    env_id: str
    """The real environment that the model learned."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """What that environment was made with for the rollouts that the model learned from. To be
    told, and never used unasked: a checkpoint may be a stranger's, and these can name a program."""
    _trust: dict[int | None, Trust] = field(default_factory=dict)

    @cached_property
    def spawns(self) -> Spawns:
        """The stretches of real frames from which dreams begin.

        Raises:
            CheckpointError: they are missing or damaged.
        """
        return load_spawns(self.folder)

    @cached_property
    def start_states(self) -> StartStates:
        """What the model remembers of each spawn."""
        return StartStates(self.model, self.spawns)

    def trust(self, denoising_steps: int | None = None) -> Trust:
        """The calibration of trust for frames of so many denoising passes.

        Args:
            denoising_steps: passes per frame, by default the checkpoint's.

        Raises:
            CheckpointError: the stored calibration is damaged.
        """
        if denoising_steps not in self._trust:
            found = Trust.load(self.folder, denoising_steps, self.fingerprint)
            self._trust[denoising_steps] = found
        return self._trust[denoising_steps]


@isolated
def load_for_dreaming(
    checkpoint: str | Path, device: str = "auto", dtype: str = "auto"
) -> LoadedWorldModel:
    """The world model of a checkpoint, which is read only if its files have changed since.

    Args:
        checkpoint: folder, or `"bundled:NAME"`.
        device: a torch device; `"auto"` takes CUDA if there is one.
        dtype: of matrix products; `"auto"` takes bfloat16 where the machine multiplies it fast.

    Raises:
        CheckpointError: the folder is no complete checkpoint.
        ConfigError: no such device or dtype, or an argument of another type.
    """
    dtype = one_of("dtype", dtype, DTYPES)
    device = str(pick_device(device_name(device)))
    if dtype == "auto":
        dtype = "bfloat16" if _fast_bfloat16(device) else "float32"
    folder = checkpoint_folder(a_folder("checkpoint", checkpoint))
    read_config(folder)  # says clearly what is missing
    for _ in range(PATIENCE):
        files = _signature(folder)
        with LOADING, waiting("loading the world model"):
            loaded = _load(folder, device, dtype, files)
        if _signature(folder) == files:
            return loaded
    raise CheckpointError(
        f"{folder} changes while it is read; wait until whatever writes there is done"
    )


def _signature(folder: Path) -> tuple[tuple[str | int, ...], ...]:
    """What changes whenever a file of the checkpoint is written anew, moved there or replaced."""
    found = []
    for name in FILES:
        try:
            about = (folder / name).stat()
        except OSError:
            continue
        found.append((name, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
    return tuple(found)


@lru_cache(maxsize=4)
def _load(
    folder: Path, device: str, dtype: str, files: tuple[tuple[str | int, ...], ...]
) -> LoadedWorldModel:
    del files  # only there so that a checkpoint written anew is read anew
    checkpoint = load_checkpoint(folder, device)
    model = checkpoint.model
    model.compute_dtype = getattr(torch, dtype)
    tracked = [part for part in model.modules() if isinstance(part, PoseTracker)]
    exact = {id(module) for part in tracked for module in part.modules()}
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and id(module) not in exact:
            module.to(model.compute_dtype)  # once, where autocast would do it at every step
    env_id = str(checkpoint.provenance.get("env_id", ""))
    kwargs = checkpoint.provenance.get("env_kwargs")
    kwargs = kwargs if isinstance(kwargs, Mapping) else {}
    return LoadedWorldModel(model, folder, checkpoint.fingerprint, env_id, kwargs)


def _fast_bfloat16(device: str) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than those of float32."""
    if torch.device(device).type != "cpu":
        return True
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:  # private functions of torch; without them take the safe choice
        return False
