"""How a layer's parts are run: as they are written, or in training on the CPU by compiled C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Run = tuple[Tensor, Tensor | None, dict[str, Tensor]]


class Operations(Protocol):
    """What stands between the matrix products of a layer."""

    def enter(self, x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """x (b, t, n, d), and its adaptive norm by `scale` and `shift` (b, t, 1, d)."""

    def leave(self, x: Tensor, gate: Tensor, output: Tensor) -> Tensor:
        """The gated residual x + gate · output."""

    def scan(self, part: Any, write: Tensor, state: dict[str, Tensor], **rest: Any) -> Run:
        """Call a `BlockScan`."""

    def attend(self, part: Any, write: Tensor, state: dict[str, Tensor], **rest: Any) -> Run:
        """Call a `FrameAttention`."""

    def mlp(self, part: nn.Sequential, x: Tensor) -> Tensor:
        """Call an MLP of a linear map, GELU and a linear map."""


class TorchOperations:
    """Operations as they are written; the reference."""

    def enter(self, x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """See `Operations`."""
        return x, F.rms_norm(x, x.shape[-1:]) * (1 + scale) + shift

    def leave(self, x: Tensor, gate: Tensor, output: Tensor) -> Tensor:
        """See `Operations`."""
        return x + gate * output

    def scan(self, part: Any, write: Tensor, state: dict[str, Tensor], **rest: Any) -> Run:
        """See `Operations`."""
        return part(write, state, **rest)

    def attend(self, part: Any, write: Tensor, state: dict[str, Tensor], **rest: Any) -> Run:
        """See `Operations`."""
        return part(write, state, **rest)

    def mlp(self, part: nn.Sequential, x: Tensor) -> Tensor:
        """See `Operations`."""
        return part(x)


Offer = Callable[[Tensor], Operations | None]
"""Who has faster operations for some tokens, or None."""
TORCH = TorchOperations()
_here = threading.local()


def operations_for(tokens: Tensor, offer: Offer | None) -> Operations:
    """The operations to take for tokens (b, t, n, d) of a layer.

    Those on offer where tokens are to get gradients, or within `targets_of_training`; as written
    everywhere else, also while torch compiles a layer itself.
    """
    if offer is None or torch.compiler.is_compiling():
        return TORCH
    learns = torch.is_grad_enabled() and tokens.requires_grad
    if not learns and not getattr(_here, "targets", False):
        return TORCH
    return offer(tokens) or TORCH


@contextmanager
def targets_of_training() -> Iterator[None]:
    """Passes without gradient whose predictions training learns from: they run as it does."""
    before = getattr(_here, "targets", False)
    _here.targets = True
    try:
        with torch.no_grad():
            yield
    finally:
        _here.targets = before
