"""Trained models for dreaming, loaded once per process however many environments share them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import nn

from dreamenv.core.allocator import keep_freed_memory
from dreamenv.core.device import pick_device
from dreamenv.core.errors import ConfigError
from dreamenv.dream.spawns import Spawns, load_spawns
from dreamenv.dream.start_states import WatchedSpawns
from dreamenv.dream.trust import Trust, weights_sha256
from dreamenv.world_model.checkpoint import checkpoint_folder, load_world_model, read_config
from dreamenv.world_model.model import WorldModel

DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Dreamer:
    """A model ready to dream and the folder it is from; the rest is read when asked for."""

    model: WorldModel
    folder: Path
    _trust: dict[int | None, Trust] = field(default_factory=dict)

    @cached_property
    def spawns(self) -> Spawns:
        """The places where dreams begin."""
        return load_spawns(self.folder)

    @cached_property
    def watched(self) -> WatchedSpawns:
        """What the model remembers of each of them."""
        return WatchedSpawns(self.model, self.spawns)

    def trust(self, steps: int | None = None) -> Trust:
        """How far to trust frames of so many denoising passes, by default the checkpoint's."""
        if steps not in self._trust:
            self._trust[steps] = Trust.load(self.folder, steps)
        return self._trust[steps]

    @cached_property
    def env_id(self) -> str:
        """The real environment that the model learned."""
        return str(read_config(self.folder)[1].get("env_id", ""))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights file, by which a saved dream knows the model it belongs to."""
        return weights_sha256(self.folder)


def load_dreamer(checkpoint: str | Path, device: str = "auto", dtype: str = "auto") -> Dreamer:
    """Load a checkpoint, or return the one loaded before.

    Args:
        checkpoint: folder, or `"bundled:NAME"`.
        device: a torch device; `"auto"` takes CUDA if there is one.
        dtype: of matrix products; `"auto"` takes bfloat16 where the machine multiplies it fast.

    Raises:
        CheckpointError: the folder is no complete checkpoint.
        ConfigError: no such device or dtype.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r}")
    device = str(pick_device(device))
    if dtype == "auto":
        dtype = "bfloat16" if _fast_bfloat16(device) else "float32"
    folder = checkpoint_folder(checkpoint)
    read_config(folder)  # says clearly what is missing
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return _load(folder, device, dtype, tuple((p.name, p.stat().st_mtime_ns) for p in files))


@lru_cache(maxsize=4)
def _load(folder: Path, device: str, dtype: str, files: tuple[tuple[str, int], ...]) -> Dreamer:
    del files  # only there so that a checkpoint written anew is read anew
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    model = load_world_model(folder, device)
    model.compute_dtype = getattr(torch, dtype)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(model.compute_dtype)  # once, where autocast would do it at every step
    return Dreamer(model, folder)


def _fast_bfloat16(device: str) -> bool:
    if torch.device(device).type != "cpu":
        return True
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:  # private functions of torch; without them take the safe choice
        return False
