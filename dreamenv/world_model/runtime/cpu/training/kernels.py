"""The compiled functions of training as tensors meet them: sizes, structures and calls."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dreamenv.world_model.runtime.cpu.build import load_training_kernels
from dreamenv.world_model.runtime.cpu.declarations import require_sizes


def _structure(name: str, numbers: Sequence[str], pointers: Sequence[str]) -> Any:
    """A structure of longs and then pointers, with the fields of the one in C."""
    fields = [(n, ctypes.c_long) for n in numbers] + [(p, ctypes.c_void_p) for p in pointers]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


Scan = _structure(
    "Scan",
    ("slots", "frames", "tokens", "blocks", "block_tokens", "heads", "head_dim", "state_dim",
     "taps", "chunk", "chunks"),
    ("order",),
)  # fmt: skip
Split = _structure("Split", (), ("projected", "gate", "x", "scaled", "b", "c", "step"))
SplitGradient = _structure(
    "SplitGradient", (), ("gate", "x", "scaled", "b", "c", "step", "projected")
)
Mixed = _structure("Mixed", (), ("within", "before", "own", "reach", "x", "gate"))
MixedGradient = _structure("MixedGradient", (), ("within", "before", "own", "reach", "x", "gate"))
Attention = _structure(
    "Attention",
    ("slots", "frames", "tokens", "heads", "head_dim", "window"),
    ("seen", "past_keys", "past_values", "cosine", "sine", "query_weight", "key_weight"),
)
STRUCTURES = {
    kind.__name__: kind for kind in (Scan, Split, SplitGradient, Mixed, MixedGradient, Attention)
}


@lru_cache(maxsize=2)
def library_for(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The functions for products in this dtype, or None where they cannot be had."""
    if dtype not in (torch.bfloat16, torch.float32):
        return None
    library = load_training_kernels(dtype == torch.bfloat16)
    if library is not None:
        require_sizes(library, STRUCTURES)
    return library


def call(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call a function with tensors, structures, numbers and None as they are.

    Tensors must be contiguous, or what the function takes strides for.
    """
    library = library_for(dtype)
    assert library is not None, "operations are compiled only where the library is"
    getattr(library, name)(torch.get_num_threads(), *map(_plain, arguments))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    if isinstance(argument, ctypes.Structure):
        return ctypes.addressof(argument)
    return argument


def structure(kind: Any, **tensors: Tensor | None) -> Any:
    """A structure of pointers to tensors, which it does not keep alive."""
    return kind(**{name: None if t is None else t.data_ptr() for name, t in tensors.items()})
