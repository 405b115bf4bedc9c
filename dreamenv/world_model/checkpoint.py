"""A world model on disk: `config.json`, `model.safetensors`, `card.md`. Nothing is executed."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.core.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.model import WorldModel

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"
BUNDLED = "bundled:"


def checkpoint_folder(checkpoint: str | Path) -> Path:
    """The folder of a checkpoint; `"bundled:NAME"` is one that ships with the package."""
    name = str(checkpoint)
    if not name.startswith(BUNDLED):
        return Path(checkpoint).expanduser().resolve()
    root = Path(str(resources.files("dreamenv"))) / "checkpoints"
    folder = root / name.removeprefix(BUNDLED)
    if not folder.is_dir():
        bundled = sorted(p.name for p in root.glob("*")) if root.is_dir() else []
        raise CheckpointError(
            f"this installation bundles no world model {folder.name!r}; it has {bundled}. "
            "Install the released wheel, or pass checkpoint= with a folder you trained"
        )
    return folder


def save_world_model(
    folder: str | Path,
    model: WorldModel,
    provenance: dict[str, Any],
    card: str = "",
    matrix_dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint folder; each file is replaced whole.

    Args:
        folder: made if absent.
        model: its present weights are saved.
        provenance: plain data on where the model is from; must have `env_id`.
        card: the text of `card.md`.
        matrix_dtype: how matrices are stored; bfloat16 halves the file. Vectors stay float32.
    """
    folder = Path(folder)
    tensors = {
        name: value.detach().cpu().to(matrix_dtype if value.ndim > 1 else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    atomic_write_bytes(folder / WEIGHTS, save(tensors))
    if card:
        atomic_write_text(folder / CARD, card)
    atomic_write_json(folder / CONFIG, {"model": model.config.to_dict(), "provenance": provenance})


def read_config(folder: str | Path) -> tuple[WorldModelConfig, dict[str, Any]]:
    """The configuration and provenance of a checkpoint.

    Raises:
        CheckpointError: there is no checkpoint, or another program or version wrote it.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{folder} holds no world model ({CONFIG} is missing); "
            "train one with train_world_model.py, or check the path"
        )
    try:
        data = json.loads(path.read_text("utf-8"))
        return WorldModelConfig.from_dict(data["model"]), data["provenance"]
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} was not written by this dreamenv: {error}") from error


def load_world_model(folder: str | Path, device: torch.device | str = "cpu") -> WorldModel:
    """Build the model of a checkpoint folder with its weights, ready to dream.

    Raises:
        CheckpointError: a file is missing, truncated, or belongs to another architecture.
    """
    config, _ = read_config(folder)
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}; copy the whole checkpoint folder")
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or cut short ({error}); copy it again") from error
    model = WorldModel(config)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {CONFIG} beside it: {error}") from error
    return model.to(device).eval().requires_grad_(False)
