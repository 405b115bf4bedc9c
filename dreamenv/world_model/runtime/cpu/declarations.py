"""The compiled functions as Python calls them: signatures, and the sizes of what they share."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
_BATCH = (_LONG, _INT)
"""Slots, and threads that share them: what every kernel takes first."""

ALWAYS: dict[str, tuple[type, ...]] = {
    "residual_norm": (*_BATCH, *8 * (_POINTER,), _LONG, _POINTER, _POINTER),
    "residual_final": (*_BATCH, *5 * (_POINTER,), _LONG, _POINTER),
    "gelu": (*_BATCH, _POINTER, _POINTER),
    "scan": (*_BATCH, _INT, *4 * (_POINTER,), _INT, _POINTER),
    "attend": (*_BATCH, *5 * (_POINTER,), _INT, _POINTER),
    "outcomes": (*_BATCH, _POINTER, _POINTER, _LONG, _POINTER),
    "silu_image": (*_BATCH, _LONG, _POINTER, _POINTER),
    "group_norm_silu": (*_BATCH, _LONG, _INT, _INT, _POINTER, _POINTER, _POINTER),
    "spread_pixels": (*_BATCH, *4 * (_INT,), _POINTER, _POINTER),
    "spread_frames": (*_BATCH, *4 * (_INT,), _POINTER, _POINTER),
}
"""Function → its arguments; none of these returns anything."""
ON_TILES: dict[str, tuple[type, ...]] = {
    "pass_frame": (*_BATCH, _POINTER, _POINTER, _POINTER),
    "decode_frames": (*_BATCH, _POINTER, _INT, _POINTER, _POINTER, _POINTER),
}

_SCAN = (_INT, _POINTER)
"""Threads, and a scan's sizes."""
OF_TRAINING: dict[str, tuple[type, ...]] = {
    "adaptive_norm": (_INT, *3 * (_LONG,), *3 * (_POINTER,), _LONG, *2 * (_POINTER,)),
    "adaptive_norm_gradient": (_INT, *3 * (_LONG,), *2 * (_POINTER,), _LONG, *6 * (_POINTER,)),
    "gated_add": (_INT, *3 * (_LONG,), *2 * (_POINTER,), _LONG, *2 * (_POINTER,)),
    "gated_add_gradient": (_INT, *3 * (_LONG,), _POINTER, _LONG, *4 * (_POINTER,)),
    "biased_gelu": (_INT, *2 * (_LONG,), *3 * (_POINTER,)),
    "biased_gelu_gradient": (_INT, *3 * (_LONG,), *5 * (_POINTER,)),
    "split": (*_SCAN, *6 * (_POINTER,)),
    "split_gradient": (*_SCAN, *11 * (_POINTER,)),
    "decay_scores": (*_SCAN, _INT, *4 * (_POINTER,)),
    "decay_scores_gradient": (*_SCAN, _INT, *7 * (_POINTER,)),
    "weigh": (*_SCAN, *3 * (_POINTER,)),
    "weigh_gradient": (*_SCAN, *5 * (_POINTER,)),
    "carry": (*_SCAN, *4 * (_POINTER,)),
    "carry_gradient": (*_SCAN, *6 * (_POINTER,)),
    "read_own_frame": (*_SCAN, *5 * (_POINTER,)),
    "read_own_frame_gradient": (*_SCAN, *9 * (_POINTER,)),
    "gated_norm": (*_SCAN, *4 * (_POINTER,)),
    "gated_norm_gradient": (*_SCAN, *7 * (_POINTER,)),
    "attend_window": (*_SCAN, *4 * (_POINTER,)),
    "attend_window_gradient": (*_SCAN, *8 * (_POINTER,)),
}
"""The same of the kernels of training."""


def declare_training(library: ctypes.CDLL) -> None:
    """`declare` for the kernels of training."""
    for name, arguments in OF_TRAINING.items():
        _function(library, name, None, arguments)


def declare(library: ctypes.CDLL, tiles: bool) -> None:
    """Tell ctypes every signature, so that a wrong argument is an error and not a wrong address.

    Raises:
        OSError: a function is missing.
    """
    for name, arguments in {**ALWAYS, **(ON_TILES if tiles else {})}.items():
        _function(library, name, None, arguments)
    if tiles:
        _function(library, "tiles_are_allowed", ctypes.c_int, ())


def require_sizes(library: ctypes.CDLL, structures: Mapping[str, type[ctypes.Structure]]) -> None:
    """Compare structures with those of C, which exports the size of each (`SIZE_OF`).

    Raises:
        OSError: the two sides do not agree.
    """
    for name, structure in structures.items():
        _function(library, f"size_of_{name}", ctypes.c_long, ())
        there, here = getattr(library, f"size_of_{name}")(), ctypes.sizeof(structure)
        if there != here:
            raise OSError(f"{name} has {there} bytes in C and {here} in Python")


def _function(
    library: ctypes.CDLL, name: str, result: type | None, arguments: tuple[type, ...]
) -> None:
    try:
        function = getattr(library, name)
    except AttributeError:
        raise OSError(f"the compiled kernels have no function {name}") from None
    function.restype, function.argtypes = result, arguments
