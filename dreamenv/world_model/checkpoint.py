"""A world model on disk: `config.json`, `model.safetensors`, `card.md`. Nothing is executed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamenv.core.errors import CheckpointError, ConfigError, UnreadableFileError
from dreamenv.core.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from dreamenv.core.hub import is_hub_name
from dreamenv.core.reading import read_bytes, read_object
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.tensor_files import (
    CHECKSUM,
    HEADER,
    all_finite,
    digest_of,
    pack_tensors,
    unpack_tensors,
)

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"
BUNDLED = "bundled:"
WIDEST = 8
"""Most bytes of a stored number."""


def checkpoint_folder(checkpoint: str | Path) -> Path:
    """The folder of a checkpoint.

    Args:
        checkpoint: a path; `"bundled:NAME"` for one that ships with the package;
            `"hf://user/name"` or `"hf://user/name@revision"` for one on the Hugging Face hub,
            which is fetched unless it is in the cache.

    Raises:
        CheckpointError: nothing is bundled or published under that name.
        MissingDependencyError: huggingface_hub is needed and not installed.
    """
    name = str(checkpoint)
    if is_hub_name(name):
        from dreamenv.world_model.hub import fetch_checkpoint

        return fetch_checkpoint(name)
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

    Weights and configuration carry checksums, and the weights a digest of the configuration that
    they belong to.

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
    about = {"config": digest_of(model.config.to_dict())}
    atomic_write_bytes(folder / WEIGHTS, pack_tensors(tensors, about))
    if card:
        atomic_write_text(folder / CARD, card)
    data = {"model": model.config.to_dict(), "provenance": provenance}
    atomic_write_json(folder / CONFIG, data | {CHECKSUM: digest_of(data)})


def read_config(folder: str | Path) -> tuple[WorldModelConfig, dict[str, Any]]:
    """The configuration and provenance of a checkpoint.

    Raises:
        CheckpointError: there is no checkpoint, or another program or version wrote it.
    """
    config, provenance, _ = _read_config(folder)
    return config, provenance


def _read_config(folder: str | Path) -> tuple[WorldModelConfig, dict[str, Any], str]:
    """As `read_config`, and the digest of the configuration as it is written there."""
    path = Path(folder) / CONFIG
    try:
        data = read_object(path)
        checksum = data.pop(CHECKSUM, None)  # earlier versions wrote none
        if data.keys() != {"model", "provenance"} or checksum not in (None, digest_of(data)):
            raise ConfigError("its entries are not those that were written")
        provenance = data["provenance"]
        if not isinstance(provenance, dict):
            raise ConfigError("provenance is no JSON object")
        return WorldModelConfig.from_dict(data["model"]), provenance, digest_of(data["model"])
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{folder} holds no world model ({CONFIG} is missing); "
            "train one with dreamenv train, check the path, or write hf://user/name for one on "
            "the hub"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} was not written by this dreamenv: {error}") from error


@dataclass(frozen=True)
class Checkpoint:
    """A world model with its weights, ready to dream, and what was read with it."""

    model: WorldModel
    provenance: dict[str, Any]
    fingerprint: str
    """SHA-256 of the weights file, by which a saved dream knows the model it belongs to."""
    checked: bool
    """Whether the weights carry a checksum; those of earlier versions do not."""


def load_world_model(folder: str | Path, device: torch.device | str = "cpu") -> WorldModel:
    """Build the model of a checkpoint folder with its weights, ready to dream.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    return load_checkpoint(folder, device).model


@isolated
def load_checkpoint(folder: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint folder; the fingerprint is of the very bytes that become the model.

    Raises:
        CheckpointError: a file is missing or damaged, belongs to another architecture, or a
            weight is NaN or infinite.
    """
    config, provenance, digest = _read_config(folder)
    path = Path(folder) / WEIGHTS
    model = _model_without_weights(config, f"{folder}/{CONFIG}")
    expected = model.state_dict()
    try:
        data = read_bytes(path, _most_bytes(expected))
        tensors, about = unpack_tensors(data)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {WEIGHTS}; copy the whole checkpoint folder"
        ) from None
    except UnreadableFileError as error:
        raise CheckpointError(f"{path} is damaged or cut short ({error}); copy it again") from error
    problem = _misfit(expected, tensors)
    if not problem and about.get("config", digest) != digest:
        problem = "they were saved with another configuration"
    if problem:
        raise CheckpointError(f"{path} does not fit {CONFIG} beside it: {problem}")
    if not all_finite(tensors):
        raise CheckpointError(
            f"{path} holds weights that are NaN or infinite: damaged, or of a training that "
            "diverged; copy it again, or train again with a smaller learning rate"
        )
    model._apply(_in_memory)
    model.load_state_dict(tensors)
    model = model.to(device).eval().requires_grad_(False)
    return Checkpoint(model, provenance, hashlib.sha256(data).hexdigest(), "config" in about)


def most_bytes(config: WorldModelConfig) -> int:
    """How large the weights file of a model is at most.

    Raises:
        CheckpointError: the configuration describes no model.
    """
    return _most_bytes(_model_without_weights(config, CONFIG).state_dict())


def _most_bytes(expected: dict[str, Tensor]) -> int:
    return WIDEST * sum(tensor.numel() for tensor in expected.values()) + HEADER + WIDEST


def _model_without_weights(config: WorldModelConfig, what: str) -> WorldModel:
    """What a model should look like, before memory is taken for it.

    Nor is chance: the first weights are drawn from the program's own generator.
    """
    try:
        with torch._C._EnableTorchFunction(), torch.device("meta"):
            return WorldModel(config)
    except (RuntimeError, TypeError, OverflowError) as error:  # sizes too large for torch to count
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{what} describes no model: {reason}") from error


def _misfit(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """What tensors have that others should not, or the other way round; empty if all fits."""
    for name in sorted(expected.keys() ^ found.keys()):
        return f"{name!r} is {'missing' if name in expected else 'no weight of this model'}"
    for name, tensor in expected.items():
        there = found[name]
        if there.shape != tensor.shape or not there.is_floating_point():
            wanted = tuple(tensor.shape)
            return f"{name!r} is {there.dtype} {tuple(there.shape)}, the model's {wanted}"
    return ""


def _in_memory(tensor: Tensor) -> Tensor:
    """A tensor without numbers yet, of the same layout; one that has numbers stays."""
    if not tensor.is_meta:
        return tensor
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return torch.empty_like(tensor, dtype=dtype, device="cpu")
