"""Checks of a `DreamState`, which anybody may have put together or saved, before it is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.state import DreamState
from dreamenv.world_model.state import MOST_FRAMES, State, of_floats


def require_possible(
    state: DreamState, memory: State, features: int, frame: tuple[int, ...], spawns: int
) -> None:
    """Refuse a state that no dream of this environment could have been in.

    Args:
        state: to go on from.
        memory: one of the environment's own model, with as many slots as the environment has.
        features: numbers of which a slot's features consist.
        frame: shape of a frame.
        spawns: how many there are.

    Raises:
        EnvironmentUsageError: names the part that is impossible.
    """
    slots = memory.slots
    try:
        problem = (
            _of_arrays(state, slots, frame, spawns)
            or _of_told(state, slots, features)
            or memory.misfit(state.memory)
            or _of_plain(state, slots)
        )
    except (AttributeError, TypeError, ValueError, LookupError, OverflowError) as error:
        problem = f"a part of it is of another kind ({error!r})"
    if problem:
        raise EnvironmentUsageError(
            f"no dream was ever in this state: {problem}; take a state with get_state()"
        )


def generators_of(state: DreamState) -> list[np.random.Generator]:
    """Generators that go on where those of a state were.

    Raises:
        EnvironmentUsageError: one is none of NumPy's PCG64.
    """
    return [_generator(i, saved) for i, saved in enumerate(state.generators)]


def _generator(slot: int, saved: Any) -> np.random.Generator:
    """A generator in a saved state; `slot` is named in the error."""
    generator = np.random.default_rng(0)
    try:
        generator.bit_generator.state = saved
        kept: Mapping[str, Any] = generator.bit_generator.state
        # NumPy takes what it can make numbers of; and an even increment draws the same for ever.
        fits = kept == saved and kept["state"]["inc"] % 2 == 1 and kept["has_uint32"] in (0, 1)
    except (TypeError, ValueError, LookupError, OverflowError, AttributeError):
        fits = False
    if not fits:
        raise EnvironmentUsageError(
            f"no dream was ever in this state: the generator of slot {slot} is none that NumPy's "
            "PCG64 was ever in; take a state with get_state(), or give it others with reseed(seed)"
        )
    return generator


def _of_arrays(state: DreamState, slots: int, frame: tuple[int, ...], spawns: int) -> str:
    wanted: dict[str, tuple[type, tuple[int, ...]]] = {
        "frames": (np.uint8, (slots, *frame)),
        "elapsed": (np.int64, (slots,)),
        "ended": (np.bool_, (slots,)),
        "spawns": (np.int64, (slots,)),
    }
    for name, (dtype, shape) in wanted.items():
        array = getattr(state, name)
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
            return f"{name} must be {np.dtype(dtype)} {shape}, not {_kind(array)}"
    if not ((state.elapsed >= 0) & (state.elapsed < MOST_FRAMES)).all():
        return f"elapsed counts steps, not {state.elapsed.tolist()}"
    if not ((state.spawns >= -1) & (state.spawns < spawns)).all():
        return f"spawns are from −1 to {spawns - 1}, not {state.spawns.tolist()}"
    return ""


def _of_told(state: DreamState, slots: int, features: int) -> str:
    if not of_floats(state.features, (slots, features)):
        return f"features must be finite floats {(slots, features)}, not {_kind(state.features)}"
    if not of_floats(state.uncertainty, (slots,)) or not bool((state.uncertainty >= 0).all()):
        return f"uncertainty must be {slots} finite floats of at least 0"
    return ""


def _of_plain(state: DreamState, slots: int) -> str:
    if state.memory.slots != slots:
        return f"its memory is of {state.memory.slots} slots, not {slots}"
    for name in ("sources", "generators"):
        values = getattr(state, name)
        if not isinstance(values, tuple) or len(values) != slots:
            return f"{name} must be a tuple of one entry for each of {slots} slots"
    if not all(source is None or isinstance(source, dict) for source in state.sources):
        return "each of its sources is a dictionary, or None"
    return ""


def _kind(value: Any) -> str:
    """Dtype and shape of an array or a tensor; of anything else its type."""
    if isinstance(value, np.ndarray) or torch.is_tensor(value):
        return f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.")
    return type(value).__name__
