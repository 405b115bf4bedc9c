"""Training the preset `paper` on 8 GPUs, and serving 10,000 dreams: memory, hours, what bounds it.

    python -m benchmarks.scale_plan

Nothing is trained. Operations and kept activations are counted on tensors without content (torch's
fake tensors), of this code as it is; bytes of parameters, optimiser and state are added up; what a
GPU does per second is *assumed*, by `--peak`, `--utilisation` and the rest, and every time that
follows from it is arithmetic, not a measurement. Two small simulations with a fixed seed add what
arithmetic leaves out: eight processes that wait for the slowest of them, lose a machine now and
then and go back to the last checkpoint; and a server whose players press keys when they like.
Result: docs/results/scale_plan.json, and with it docs/scale.md. Half a minute on any machine.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scale_page import write_page
from benchmarks.scale_simulation import simulate_serving, simulate_training
from benchmarks.script import DOCS, conditions, options, store
from benchmarks.state_bytes import state_bytes
from dreamenv.training.optimizer import Optimizer
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from dreamenv.world_model.presets import preset

WINDOWS = (400, 800)
CURRICULUM = ((400, 150_000), (800, 250_000))
"""Frames of a window and updates: the paper's schedule of the reasoning task."""
COUNTED = 64
"""Frames of the window whose operations are counted; all of them grow with its length."""
STANDARDISE = 3.2e-9
"""Seconds for which looking up a latent's number takes one processor core (measured once, on this
project's AMD EPYC at full load of other work, so rather too long)."""


def main() -> None:
    """Count, calculate, simulate and store."""
    parser = options(__doc__, "scale_plan.json")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--rows", type=int, default=2, help="windows per GPU and update")
    parser.add_argument("--peak", type=float, default=989e12, help="operations/s, bfloat16, dense")
    parser.add_argument("--utilisation", type=float, nargs=3, default=(0.15, 0.3, 0.45))
    parser.add_argument("--gpu-bytes", type=float, default=80e9)
    parser.add_argument(
        "--gpu-bandwidth", type=float, default=3.35e12, help="bytes/s of its memory"
    )
    parser.add_argument(
        "--link", type=float, default=450e9, help="bytes/s between GPUs of a machine"
    )
    parser.add_argument("--network", type=float, default=25e9, help="bytes/s between machines")
    parser.add_argument("--disk", type=float, default=2e9, help="bytes/s read")
    parser.add_argument("--slots", type=int, default=10_000)
    parser.add_argument("--keys", type=float, default=10.0, help="steps/s of a player")
    args = parser.parse_args()
    assumed = {name: value for name, value in vars(args).items() if name != "out"}
    result: dict[str, Any] = {"conditions": conditions("scale_plan"), "assumed": assumed}
    os.environ["DREAMENV_KERNELS"] = "0"  # compiled code would look for the content
    result["counted"] = {name: count(name) for name in ("small", "paper")}
    result["training"] = plan_training(result["counted"]["paper"], args)
    result["serving"] = {
        name: plan_serving(counted, args) for name, counted in result["counted"].items()
    }
    store(args.out, result)
    if args.out.parent == DOCS / "results":
        write_page(result, Path(DOCS / "scale.md"))


def count(name: str) -> dict[str, float]:
    """What the preset `name` computes and keeps, counted."""
    with torch.device("meta"):
        model = WorldModel(preset(name, actions=ActionConfig(n=6))).to("meta")
    dynamics = model.dynamics
    found: dict[str, float] = {
        "parameters": _numbers(model),
        "dynamics_parameters": _numbers(dynamics),
        "layers": len(dynamics.layers),
        "latent_numbers_per_frame": dynamics.latent_count * dynamics.latent_channels,
        "state_bytes_per_slot": state_bytes(model.config)["bfloat16"]["bytes"],
    }
    found |= _optimiser_bytes(model)
    for how, checkpoints in (("", False), ("_checkpointed", True)):
        dynamics.checkpoint_activations = checkpoints
        operations, kept = _update(model)
        found[f"operations_per_frame{how}"] = operations / COUNTED
        found[f"activation_bytes_per_frame{how}"] = kept / COUNTED
    frame = torch.empty(1, dynamics.latent_count, dynamics.latent_channels, device="meta")
    with FlopCounterMode(display=False) as counter:
        model.tokenizer.decode(frame, model.config.grid)
    found["operations_to_decode_a_frame"] = counter.get_total_flops()
    return found


def plan_training(counted: dict[str, float], args: Any) -> dict[str, Any]:
    """Bytes per GPU and hours of the schedule."""
    weights = counted["parameter_bytes"]
    fixed = 3 * weights + counted["optimiser_bytes"]  # with gradients and the average
    saving = (2 * weights + counted["optimiser_bytes"]) / args.disk
    gradients = 2 * (args.gpus - 1) / args.gpus * weights
    plan: dict[str, Any] = {"fixed_bytes": fixed, "seconds_saving": saving, "windows": {}}
    for window in WINDOWS:
        frames = window * args.rows
        kept, kept_checkpointed = (
            counted[f"activation_bytes_per_frame{how}"] * frames for how in ("", "_checkpointed")
        )
        kept_checkpointed += kept / counted["layers"]  # of the layer that is computed again
        fits = fixed + kept < args.gpu_bytes
        operations = counted[f"operations_per_frame{'' if fits else '_checkpointed'}"] * frames
        seconds = [operations / args.peak / share for share in args.utilisation]
        latents = counted["latent_numbers_per_frame"] * frames * args.gpus
        plan["windows"][str(window)] = {
            "activation_bytes": kept,
            "activation_bytes_checkpointed": kept_checkpointed,
            "checkpointing_needed": not fits,
            "seconds_computing": seconds,
            "seconds_adding_gradients": gradients / args.link,
            "seconds_adding_gradients_over_network": gradients / args.network,
            "seconds_reading": 2 * latents / args.disk,
            "seconds_standardising": STANDARDISE * latents / args.gpus,
            "simulated": simulate_training(seconds[1], gradients / args.link, saving, args.gpus),
        }
    hours = np.zeros(len(args.utilisation))
    for window, updates in CURRICULUM:
        about = plan["windows"][str(window)]
        each = np.array(about["seconds_computing"]) + about["seconds_adding_gradients"]
        hours += updates * each / 3600
    return {**plan, "hours": hours.tolist(), "curriculum": CURRICULUM}


def plan_serving(counted: dict[str, float], args: Any) -> dict[str, Any]:
    """GPUs for so many dreams, by memory, by operations and by memory's speed."""
    tokens = 16
    plan: dict[str, Any] = {"state_bytes": counted["state_bytes_per_slot"] * args.slots}
    for passes in (1, 4):
        looks = passes + 1
        step = 2 * counted["dynamics_parameters"] * tokens * looks
        step += counted["operations_to_decode_a_frame"]
        moved = counted["state_bytes_per_slot"] * (looks + 1)  # read each pass, written once
        utilisation = args.utilisation[1]
        per_gpu = [args.peak * utilisation / step, args.gpu_bandwidth * 0.7 / moved]
        room = args.gpu_bytes * 0.9 - counted["parameter_bytes"] / 2
        needed = {
            "memory": plan["state_bytes"] / room,
            "operations": args.slots * args.keys / per_gpu[0],
            "bandwidth": args.slots * args.keys / per_gpu[1],
        }
        gpus = int(np.ceil(max(needed.values()) / 0.7))
        seconds = 1 / min(per_gpu)
        plan[f"{passes} passes"] = {
            "operations_per_step": step,
            "bytes_moved_per_step": moved,
            "frames_per_second_per_gpu": min(per_gpu),
            "gpus_needed_by": needed,
            "gpus_at_70_percent": gpus,
            "simulated": simulate_serving(args.slots // gpus, args.keys, seconds),
        }
    return plan


def _numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _optimiser_bytes(model: WorldModel) -> dict[str, float]:
    """Bytes of float32 weights and of what Muon and AdamW keep for them."""
    modules = [model.dynamics, model.head]
    optimizer = Optimizer(modules, model.dynamics.layers, 0.01)
    numbers = [
        sum(p.numel() for group in one.param_groups for p in group["params"])
        for one in optimizer.optimizers
    ]
    moments = 2 * numbers[0] + sum(numbers[1:])
    return {"parameter_bytes": 4.0 * sum(numbers), "optimiser_bytes": 4.0 * moments}


def _update(model: WorldModel) -> tuple[int, int]:
    """Operations of an update on one window, and the bytes kept for its gradient."""
    dynamics, seen = model.dynamics, dict[int, int]()
    mine = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage()._cdata
        if place not in mine:
            seen[place] = max(seen.get(place, 0), tensor.nbytes)
        return tensor

    shape = (1, COUNTED)
    with torch.device("meta"):
        batch = Batch(
            torch.zeros(*shape, dynamics.latent_count, dynamics.latent_channels),
            torch.zeros(shape, dtype=torch.int64),
            torch.zeros(shape),
            torch.zeros(shape, dtype=torch.bool),
            torch.ones(shape, dtype=torch.bool),
        )
    generator = torch.Generator().manual_seed(0)
    with FlopCounterMode(display=False) as counter, _no_autocast():
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = model.loss(batch, ObjectiveConfig(), generator)
        losses["total"].backward()
    return counter.get_total_flops(), sum(seen.values())


def _no_autocast() -> Any:
    """Compute in one precision: torch knows no other on tensors without content."""
    return mock.patch.object(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


if __name__ == "__main__":
    main()
