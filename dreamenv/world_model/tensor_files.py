"""Tensors in one file (safetensors) with a checksum over all of them; nothing is executed.

The checksum is of the contents and not of the file: names, dtypes, shapes, numbers, and the text
that is kept beside them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dreamenv.core.errors import UnreadableFileError
from dreamenv.core.reading import parse_json

ABOUT, CHECKSUM = "dreamenv", "sha256"
EARLIER = {"format", "dream"}
"""What files without a checksum have in its place."""
HEADER = 2**24
"""Most bytes of a file's list of tensors."""


def pack_tensors(tensors: dict[str, Tensor], about: dict[str, str]) -> bytes:
    """A file of tensors on the CPU and of text that says what they are; equal for equal ones."""
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    told = {**about, CHECKSUM: _checksum(stored, about)}
    # One entry: safetensors writes several in any order.
    return save(stored, {ABOUT: json.dumps(told, sort_keys=True)})


def unpack_tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the text of a file; files of earlier versions have no checksum.

    Raises:
        UnreadableFileError: it is no such file, or damaged.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(HEADER, len(data) - 8):
        raise UnreadableFileError("no file of tensors, or cut short")
    header = parse_json(data[8 : 8 + size])
    try:
        tensors = load(data)
        metadata = header.get("__metadata__", {})
        about = dict(parse_json(metadata[ABOUT]) if ABOUT in metadata else metadata)
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(f"no file of tensors, or damaged ({error})") from error
    except (RuntimeError, OverflowError) as error:  # torch, about a dtype or a size
        raise UnreadableFileError(f"no file of tensors ({error})") from error
    checksum = about.pop(CHECKSUM, None)
    without = metadata.keys() <= EARLIER
    if not without and checksum != _checksum(tensors, about):
        raise UnreadableFileError("damaged: its numbers are not those that were written")
    return tensors, about


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no number is NaN or infinite."""
    return all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())


def digest_of(plain: Any) -> str:
    """SHA-256 of plain data; integers and floats of the same value count alike."""
    return hashlib.sha256(json.dumps(_as_floats(plain), sort_keys=True).encode()).hexdigest()


def _as_floats(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {name: _as_floats(value) for name, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_as_floats(value) for value in plain]
    return float(plain) if isinstance(plain, int) and not isinstance(plain, bool) else plain


def _checksum(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        row = tensor.contiguous().as_strided((tensor.numel(),), (1,))
        digest.update(row.view(torch.uint8).numpy().data)
    return digest.hexdigest()
