"""Muon for the matrices inside the layers, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class Optimizer:
    """Two optimisers that step together.

    Muon [Jordan et al. 2024] orthogonalises the update of every hidden matrix; its step is scaled
    to the size of AdamW's, so one learning rate serves both.
    """

    def __init__(self, modules: Iterable[nn.Module], hidden: nn.Module, weight_decay: float):
        matrices = [p for p in hidden.parameters() if p.ndim == 2 and min(p.shape) > 8]
        chosen = {id(p) for p in matrices}
        rest = [p for m in modules for p in m.parameters() if id(p) not in chosen]
        self.parameters = matrices + rest
        fused = all(p.is_floating_point() for p in rest)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, weight_decay=weight_decay, betas=(0.9, 0.95), fused=fused)
        ]
        if matrices:
            self.optimizers.append(
                torch.optim.Muon(
                    matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
                )
            )

    def step(self, rate: float, clip: float = 1.0) -> float:
        """Clip the gradients, update at learning rate `rate`; returns the gradients' norm."""
        norm = nn.utils.clip_grad_norm_(self.parameters, clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def state_dict(self) -> list[dict]:
        """The state from which to go on exactly."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict]) -> None:
        """Inverse of `state_dict`."""
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


class Average:
    """Exponential moving average of a module's parameters; short at first, then `decay`."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present weights."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        names, current = zip(*module.named_parameters(), strict=True)
        averages = [self.weights[name] for name in names]
        torch._foreach_lerp_(averages, [p.detach() for p in current], 1 - decay)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange average and present weights; a second call undoes the first."""
        for name, parameter in module.named_parameters():
            present = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name] = present

    def state_dict(self) -> dict:
        """The state from which to go on exactly."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of `state_dict`."""
        self.updates = state["updates"]
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)
