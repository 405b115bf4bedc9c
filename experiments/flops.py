"""Arithmetic of a training run: floating-point operations of matrix products and convolutions."""

from __future__ import annotations

import collections
import dataclasses

import torch
from torch.utils.flop_counter import FlopCounterMode

from dreamenv.training.config import TrainConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch


def training_flops(model: WorldModel, config: TrainConfig) -> int:
    """Operations of all updates of the dynamics, forward and backward, without the optimiser.

    One update of every kind that the run has (window length, with and without self-forcing) is
    done on zeros and counted by torch; element-wise operations are not counted. The model's
    gradients are dropped and its weights stay.
    """
    forcing_from = config.self_forcing_from * config.dynamics.steps
    window_at = config.curriculum.window_at
    kinds = collections.Counter(
        (window_at(step), step >= forcing_from) for step in range(config.dynamics.steps)
    )
    needed_gradients = {p: p.requires_grad for p in model.parameters()}
    for module in (model.dynamics, model.head):
        module.requires_grad_(True)
    total = sum(
        count * _update_flops(model, config, window, forcing)
        for (window, forcing), count in kinds.items()
    )
    for parameter, needed in needed_gradients.items():
        parameter.grad = None
        parameter.requires_grad_(needed)
    return total


def _update_flops(model: WorldModel, config: TrainConfig, window: int, forcing: bool) -> int:
    batch = _zeros(model, config.dynamics.batch * config.window // window, window)
    objective = config.objective
    if not forcing:
        objective = dataclasses.replace(objective, self_forcing=0.0)
    generator = torch.Generator().manual_seed(0)
    counter = FlopCounterMode(display=False)
    with counter:
        losses = model.segment_losses(batch, objective, generator, config.segments)
        for segment in losses:
            segment["total"].backward()
    return counter.get_total_flops()


def _zeros(model: WorldModel, rows: int, window: int) -> Batch:
    actions = model.config.actions
    kind = torch.long if actions.discrete else torch.float32
    shape = (rows, window) if actions.discrete else (rows, window, len(actions.low))
    batch = Batch(
        torch.zeros(rows, window, *model.noise_shape(1)[2:]),
        torch.zeros(shape, dtype=kind),
        torch.zeros(rows, window),
        torch.zeros(rows, window, dtype=torch.bool),
    )
    return batch.to(model.device)
