"""Compiles the C of `csrc/` at first use, for one architecture, and keeps the result.

A C compiler makes a dream's step on the CPU about twice as fast as torch's own operations do. It
is asked for once per architecture, takes a few seconds, and is never needed: without one, or with
`DREAMENV_KERNELS=0` in the environment, dreams run on torch operations. So does training, whose
kernels lie in `csrc_training/` and serve every architecture.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from dreamenv.core.settings import KERNELS, kernels_wanted
from dreamenv.world_model.runtime.cpu.compiler import (
    TRAINING_FOLDER,
    Build,
    CompilationError,
    find_compiler,
)
from dreamenv.world_model.runtime.cpu.declarations import declare_training
from dreamenv.world_model.runtime.cpu.library import load_library

logger = logging.getLogger(__name__)
_told: set[str] = set()


@lru_cache(maxsize=16)
def load_kernels(**sizes: int) -> ctypes.CDLL | None:
    """The kernels with these constants defined, or None where they cannot be had."""
    if not kernels_wanted():
        return None
    what = "dreams run without compiled kernels, at about half the speed"
    try:
        compiler = find_compiler()
        if sizes.get("TILES"):
            what = "dreams run without kernels on tiles (AMX), at less than full speed"
        return load_library(Build(compiler, _defines(sizes)))
    except (CompilationError, OSError) as error:
        _warn_of_loss(what, str(error))
        return None


@lru_cache(maxsize=2)
def load_training_kernels(half: bool) -> ctypes.CDLL | None:
    """The kernels of training for products in bfloat16 or float32, or None as above."""
    try:
        sizes = {"LANES": 16, "HALF": int(half)}
        library = load_library(Build(find_compiler(), _defines(sizes), TRAINING_FOLDER))
        declare_training(library)
        return library
    except (CompilationError, OSError) as error:
        what = "training runs without compiled kernels, at two thirds of the speed or less"
        _warn_of_loss(what, str(error))
        return None


def _defines(sizes: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"-D{name}={value}" for name, value in sorted(sizes.items()))


def _warn_of_loss(what: str, reason: str) -> None:
    """A warning for the first model that runs without; the same holds for the others."""
    level = logging.INFO if what in _told else logging.WARNING
    _told.add(what)
    message = "%s: %s; %s=0 in the environment runs none and says nothing"
    logger.log(level, message, what, reason, KERNELS)


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's numbers begin, as kernels take it."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def batch(slots: int) -> tuple[ctypes.c_long, ctypes.c_int]:
    """What every kernel takes first: the number of slots, and of threads to share them.

    A thread without a slot would only be waited for.
    """
    return ctypes.c_long(slots), ctypes.c_int(min(slots, torch.get_num_threads()))
