"""Parts that time training: the scan alone, whole updates, and the sizes that both depend on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.cuda import checks
from benchmarks.cuda.common import require_cuda, timed
from benchmarks.cuda.dreams import variants
from benchmarks.training_speed import Trainer
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network import ssd
from dreamenv.world_model.network.ssd import ScanInputs, ssd_scan
from dreamenv.world_model.objective import ObjectiveConfig
from dreamenv.world_model.presets import preset
from dreamenv.world_model.runtime.cuda import stepper as triton_stepping


def scan_speed(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Two streams, forward and backward, at the sizes of training, in bfloat16."""
    rows = []
    for name in args.presets:
        config = preset(name).dynamics
        tokens = preset(name).grid[0] * preset(name).grid[1]
        heads = config.width * config.ssm_expand // config.ssm_head_dim
        for size in sorted({height * width for height, width in config.scan_blocks}):
            draw = checks._Draw(device, torch.bfloat16, 0)
            sequences, length = args.rows * tokens // size, args.window * size

            def inputs(draw: Any = draw, shape: tuple[int, int] = (sequences, length),
                       heads: int = heads, config: Any = config) -> ScanInputs:  # fmt: skip
                step = torch.nn.functional.softplus(draw(*shape, heads, wide=True) - 4)
                b, c = (draw(*shape, config.ssm_state_dim) for _ in range(2))
                parts = draw(*shape, heads, config.ssm_head_dim), step, b, c
                return ScanInputs(*(x.requires_grad_() for x in parts))

            write, read = inputs(), inputs()
            a = -torch.linspace(1, 16, heads, device=device)
            shape = (sequences, config.ssm_state_dim, heads, config.ssm_head_dim)
            state = torch.zeros(shape, device=device)

            def run(write: Any = write, read: Any = read, a: Any = a, state: Any = state,
                    size: int = size, chunk: int = config.ssm_chunk) -> None:  # fmt: skip
                with torch.autocast(device.type, torch.bfloat16):
                    y, seen, _ = ssd_scan(write, a, state, size, chunk, read)
                assert seen is not None
                (y.float().mean() + seen.float().mean()).backward()

            rows.append({"preset": name, "frame_tokens": size, **_with_and_without(run, device)})
    return {"rows": rows}


def training(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Updates of the dynamics with kernels and without."""
    rows = []
    for name in args.presets:
        for compiled in (False, True) if args.compile else (False,):
            model = _new_model(name, device)
            trainer = Trainer(model, ObjectiveConfig(scheme="clean_state"))
            batch = trainer.windows(args.rows, args.window)
            if compiled:
                torch._dynamo.config.recompile_limit = 8 * len(model.dynamics.layers)
                for layer in model.dynamics.layers:
                    layer.compile()

            def update(trainer: Trainer = trainer, batch: Any = batch) -> None:
                trainer.update(batch)

            try:
                found = _with_and_without(update, device, args.updates)
            except torch.OutOfMemoryError as error:
                rows.append({"preset": name, "compiled": compiled, "error": str(error)})
                continue
            frames = args.rows * args.window
            for key in [key for key in found if key.startswith("milliseconds")]:
                found[key.replace("milliseconds", "frames_per_second")] = 1e3 * frames / found[key]
            rows.append({"preset": name, "compiled": compiled, **found})
    return {"rows_per_update": args.rows, "window": args.window, "rows": rows}


def _new_model(name: str, device: torch.device) -> WorldModel:
    model = WorldModel(preset(name)).to(device)
    model.compute_dtype = torch.bfloat16
    return model


def memory(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Bytes of an update with checkpointed activations and without."""
    require_cuda(device)
    rows = []
    for name in args.presets:
        for again in (False, True):
            model = _new_model(name, device)
            trainer = Trainer(model, ObjectiveConfig(scheme="clean_state"))
            batch = trainer.windows(args.rows, args.window)
            model.dynamics.checkpoint_activations = again
            row: dict[str, Any] = {"preset": name, "checkpoint_activations": again}
            try:
                torch.cuda.reset_peak_memory_stats(device)
                seconds = timed(lambda: trainer.update(batch), device, 3)  # noqa: B023
                row |= {"milliseconds": 1e3 * seconds}
            except torch.OutOfMemoryError as error:
                row |= {"error": str(error)}
            rows.append(row | {"peak_bytes": torch.cuda.max_memory_allocated(device)})
    return {"rows": rows}


def tuning(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Sizes that only speed depends on: milliseconds of a step, and of the scans of training."""
    require_cuda(device)
    found: dict[str, Any] = {"scan_part": [], "kernel_chunk": []}
    with _other_value(triton_stepping, "SCAN_PART") as set_part:
        for part in (16, 32, 64):
            set_part(part)
            found["scan_part"].append({"size": part, **variants(args, device)})
    with _other_value(ssd, "KERNEL_CHUNK") as set_chunk:
        for chunk in (64, 128, 256):
            set_chunk(chunk)
            found["kernel_chunk"].append({"size": chunk, **scan_speed(args, device)})
    return found


@contextmanager
def _other_value(module: Any, name: str) -> Iterator[Callable[[Any], None]]:
    """Sets an attribute of a module to other values for as long as this lasts."""
    before = getattr(module, name)
    try:
        yield lambda value: setattr(module, name, value)
    finally:
        setattr(module, name, before)


def _with_and_without(
    run: Callable[[], None], device: torch.device, rounds: int = 10
) -> dict[str, float]:
    """Milliseconds by the reference path, and by mamba-ssm's kernels where there is CUDA."""
    with checks.kernels(False):
        found = {"milliseconds_reference": 1e3 * timed(run, device, rounds)}
    if device.type == "cuda":
        with checks.kernels(True):
            found["milliseconds_kernels"] = 1e3 * timed(run, device, rounds)
        found["speedup"] = found["milliseconds_reference"] / found["milliseconds_kernels"]
    return found
