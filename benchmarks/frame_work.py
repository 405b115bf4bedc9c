"""What one dreamt frame has to compute and to move, and the least time that takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.select import can_step
from dreamenv.world_model.state import GROWING


@dataclass(frozen=True)
class FrameWork:
    """Arithmetic and traffic of one imagined frame of one slot, with K denoising passes."""

    flops: int
    """Of matrix products and convolutions: K + 1 passes, reward and continuation, the decoder.
    What depends on nothing but action and noise level is looked up, not counted."""
    decoder_flops: int
    """The part of it that turns latents into pixels."""
    weight_bytes: int
    """Dynamics, heads and decoder in the precision of products, without those whose results are
    looked up; one read serves all slots."""
    state_bytes: int
    """Memory of a slot."""
    moved_state_bytes: int
    """Of the memory: read once, and written where a frame changes it."""

    def bound(self, slots: int, gflops: float, gigabytes: float) -> dict[str, float]:
        """Least seconds of a step of so many slots at these rates.

        Args:
            slots: frames made by a step.
            gflops: GFLOP/s of a large matrix product.
            gigabytes: GB/s of a large copy.
        """
        moved = self.weight_bytes + slots * self.moved_state_bytes
        return {
            "arithmetic_seconds": slots * self.flops / gflops / 1e9,
            "traffic_seconds": moved / gigabytes / 1e9,
            "flops_per_byte": slots * self.flops / moved,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def frame_work(model: WorldModel, steps: int) -> FrameWork:
    """Count the work of a model's frame of `steps` denoising passes."""
    state = model.initial_state(1)
    actions = model.config.actions
    action = torch.zeros(1, dtype=torch.int64) if actions.discrete else torch.zeros(
        1, len(actions.low)
    )  # fmt: skip
    action = action.to(model.device)
    noise = torch.zeros(model.noise_shape(1), device=model.device)
    with _torch_operations(model):
        # Twice: the first time fills what is looked up afterwards.
        for _ in range(2):
            with FlopCounterMode(display=False) as counter:
                _, _, state = model.imagine(state, action, noise, steps, reuse=True)
    with torch.no_grad(), model.autocast(), FlopCounterMode(display=False) as decoding:
        model.tokenizer.decode(noise[:, 0], model.config.grid)
    used = (model.dynamics, model.head, model.tokenizer.decoder)
    numbers = sum(
        parameter.numel()
        for module in used
        for name, parameter in module.named_parameters()
        if not (actions.discrete and can_step(model.dynamics) and _of_condition(name))
    )
    moved = 0.0
    for name, tensor in state.named_tensors():
        ring = name.endswith(GROWING) and not state.grows
        moved += tensor.nbytes * (1 + 1 / max(1, tensor.shape[1]) if ring else 2)
    return FrameWork(
        flops=counter.get_total_flops(),
        decoder_flops=decoding.get_total_flops(),
        weight_bytes=numbers * model.compute_dtype.itemsize,
        state_bytes=state.nbytes,
        moved_state_bytes=round(moved),
    )


def _of_condition(name: str) -> bool:
    """Whether a parameter serves nothing but action and noise level."""
    return not {"modulation", "noise_level", "action", "jump"}.isdisjoint(name.split("."))


@contextmanager
def _torch_operations(model: WorldModel) -> Iterator[None]:
    """Imagine by torch's operations, which can be counted, not by compiled kernels."""
    if not can_step(model.dynamics):
        yield
        return
    usual = model.stepper()
    assert isinstance(model.dynamics, Dynamics)
    model.use(FrameStepper(model.dynamics, model.tokenizer, usual.dtype))
    try:
        yield
    finally:
        model.use(usual)
