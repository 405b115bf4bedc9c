"""Which runtime imagines on this machine, and why not a faster one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from dreamenv.world_model.network.conditioning import ActionEmbedding
from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.runtime.cpu.compiler import has_tiles
from dreamenv.world_model.runtime.cpu.stepper import KernelStepper, kernels_for
from dreamenv.world_model.runtime.cpu.tile_stepper import TileStepper, fits_tiles
from dreamenv.world_model.runtime.cuda.stepper import TritonStepper, load_triton
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.protocol import Stepper
from dreamenv.world_model.runtime.reference import ReferenceStepper


def can_step(dynamics: nn.Module) -> bool:
    """Whether an architecture can be stepped in place; others imagine by the reference."""
    if not isinstance(dynamics, Dynamics) or not isinstance(dynamics.action, ActionEmbedding):
        return False
    config = dynamics.config
    return config.scan != "none" and config.attention == "window" and not config.ssm_recall


def make_stepper(dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype) -> Stepper:
    """The fastest stepper that this machine has for a model, with products in `dtype`."""
    stepper: Stepper | None = None
    for _, stepper in _offers(dynamics, tokenizer, dtype):
        if stepper is not None:
            break
    assert stepper is not None, "the reference can always be had"
    return stepper


def explain(dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype) -> list[str]:
    """A line for each runtime, from the fastest to the one that is used: its name, or its lack."""
    lines = []
    for line, stepper in _offers(dynamics, tokenizer, dtype):
        lines.append(line)
        if stepper is not None:
            break
    return lines


def _offers(
    dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype
) -> Iterator[tuple[str, Stepper | None]]:
    """From the fastest runtime on: what to say of it, and it, or None where it cannot be had."""
    if not can_step(dynamics):
        yield "in place: not for this architecture", None
        yield "the network itself", ReferenceStepper(dynamics, tokenizer, dtype)
        return
    if dynamics.position.device.type == "cuda":
        triton = load_triton() if dynamics.position.dtype == torch.float32 else None
        if triton is None:
            yield "Triton's kernels: not with this precision, or Triton does not import", None
        else:
            yield "Triton's kernels", TritonStepper(dynamics, tokenizer, dtype, triton)
            return
    elif dynamics.position.device.type == "cpu":
        if dtype != torch.bfloat16:
            yield "tiles (AMX): only for bfloat16", None
        elif not has_tiles():
            yield "tiles (AMX): the processor has none", None
        elif dynamics.landmarks is not None:
            yield "tiles (AMX): not with a landmark memory", None
        elif not fits_tiles(dynamics):
            yield "tiles (AMX): the model's sizes are no multiples of 32", None
        else:
            tiled = kernels_for(dynamics, dtype, tiles=True)
            if tiled is not None and tiled.tiles_are_allowed():
                yield "compiled C on tiles (AMX)", TileStepper(dynamics, tokenizer, dtype, tiled)
                return
            yield "tiles (AMX): no compiler, or the system does not allow them", None
        kernels = kernels_for(dynamics, dtype)
        if kernels is not None:
            yield "compiled C", KernelStepper(dynamics, tokenizer, dtype, kernels)
            return
        yield "compiled C: no compiler, switched off, or not for these sizes", None
    yield "torch, in place", FrameStepper(dynamics, tokenizer, dtype)
