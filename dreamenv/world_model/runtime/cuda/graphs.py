"""A dream's step as a CUDA graph: recorded once for a memory, then replayed by a single launch.

A step is some hundred small kernels, and starting each from Python takes longer than it runs. A
graph knows them by address, so it belongs to the tensors that it was recorded with: those of one
memory, which it overwrites, and buffers of its own for what goes in and comes out.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dreamenv.core.process import LOADING
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.state import State

Imagined = tuple[Tensor, Outcome, State]
"""Frames, outcome and the memory after, as `WorldModel.imagine` returns them."""

UNRECORDED_STEPS = 2
"""Steps of a memory that run as usual first: kernels are compiled and chosen then, and what is
dreamt for a step or two only is never worth a recording."""
MOST_GRAPHS = 16
"""Recordings kept per model; the one that was not asked for longest is given up first."""

logger = logging.getLogger(__name__)


class Imagine(Protocol):
    """Imagines one frame; may overwrite the layers' memory and must do so in place."""

    def __call__(
        self, state: State, action: Tensor, noise: Tensor, steps: int | None
    ) -> Imagined: ...


Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function does to tensors, and returns what does it again."""


def cuda_capture(function: Callable[[], None]) -> Callable[[], None]:
    """A `Capture` by CUDA; the function is not run."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        function()
    return graph.replay


class StepGraphs:
    """Recorded steps of one model with its weights as they are now.

    Args:
        capture: how steps are recorded; None: not at all.
    """

    def __init__(self, capture: Capture | None = cuda_capture) -> None:
        self._capture = capture
        self._steps: OrderedDict[tuple, RecordedStep | int] = OrderedDict()

    def __call__(
        self,
        imagine: Imagine,
        state: State,
        action: Tensor,
        noise: Tensor,
        steps: int | None,
        uses: Iterable[Tensor] = (),
    ) -> Imagined:
        """As `imagine` does, but with the whole memory overwritten in place.

        Args:
            imagine: the same function at every call, apart from what it is given here.
            state: the memory; it is the one that is returned.
            action, noise, steps: as in `WorldModel.imagine`.
            uses: weights that may be exchanged for others while these graphs are kept.
        """
        capture = self._capture  # another thread may find that it fails
        if capture is None or state.grows:
            return imagine(state, action, noise, steps)
        weights = tuple(x.data_ptr() for x in uses)
        key = (_places(state), weights, _kind(action), _kind(noise), steps)
        known = self._steps.pop(key, 0)
        if isinstance(known, int) and known < UNRECORDED_STEPS:
            self._remember(key, known + 1)
            return _in_place(imagine, state, action, noise, steps)
        if isinstance(known, int):
            try:
                # One at a time: torch records every thread's graph on the same stream.
                with LOADING, torch.cuda.device_of(noise):
                    known = RecordedStep(capture, imagine, state, action, noise, steps)
            except RuntimeError as error:
                logger.warning("dreams run without CUDA graphs: %s", str(error).split("\n")[0])
                self._capture = None
                self._steps.clear()
                return _in_place(imagine, state, action, noise, steps)
        self._remember(key, known)
        frames, outcome = known(action, noise)
        return frames, outcome, state

    @property
    def recorded(self) -> int:
        """How many recordings are kept."""
        return sum(isinstance(known, RecordedStep) for known in self._steps.values())

    def _remember(self, key: tuple, known: RecordedStep | int) -> None:
        self._steps[key] = known
        if len(self._steps) > MOST_GRAPHS:
            with suppress(KeyError):  # another thread may have cleared them
                self._steps.popitem(last=False)


class RecordedStep:
    """A step on fixed tensors.

    Args:
        capture: how it is recorded.
        imagine, state, action, noise, steps: as in `StepGraphs`.
    """

    def __init__(
        self,
        capture: Capture,
        imagine: Imagine,
        state: State,
        action: Tensor,
        noise: Tensor,
        steps: int | None,
    ) -> None:
        self._action, self._noise = action.clone(), noise.clone()
        self._results: _Results | None = None
        self._replay = capture(lambda: self._run(imagine, state, steps))

    def _run(self, imagine: Imagine, state: State, steps: int | None) -> None:
        frames, outcome, _ = _in_place(imagine, state, self._action, self._noise, steps)
        self._results = _Results(frames, outcome)

    def __call__(self, action: Tensor, noise: Tensor) -> tuple[Tensor, Outcome]:
        """One step; frames and outcome are the caller's to keep."""
        self._action.copy_(action)
        self._noise.copy_(noise)
        self._replay()
        assert self._results is not None
        return self._results.copied()


class _Results(NamedTuple):
    frames: Tensor
    outcome: Outcome

    def copied(self) -> tuple[Tensor, Outcome]:
        parts: dict[str, Any] = {
            field.name: None if part is None else part.clone()
            for field in dataclasses.fields(self.outcome)
            for part in [getattr(self.outcome, field.name)]
        }
        return self.frames.clone(), Outcome(**parts)


def _in_place(
    imagine: Imagine, state: State, action: Tensor, noise: Tensor, steps: int | None
) -> Imagined:
    """`imagine`, with what it returned anew written into the given memory too."""
    frames, outcome, after = imagine(state, action, noise, steps)
    for (name, old), (_, new) in zip(state.named_tensors(), after.named_tensors(), strict=True):
        if new.data_ptr() != old.data_ptr():
            assert not name.startswith("layers"), f"{name} was not overwritten"
            old.copy_(new)
    return frames, outcome, state


def _places(state: State) -> tuple:
    return tuple((x.data_ptr(), x.stride(), *_kind(x)) for _, x in state.named_tensors())


def _kind(x: Tensor) -> tuple:
    return x.shape, x.dtype
