"""Speed of training the dynamics, by window length, beside the rate of matrix products.

    python -m benchmarks.training_speed

Updates as `train_world_model.py` makes them, forward, backward, optimiser and averaging of weights,
on random latents: no data is needed. Lengths take turns, several times over, at an equal number of
frames per update. What `docs/results/training_speed.json` holds:
  - `by_window`: frames/s, medians over rounds; seconds of the first update, which warms up and,
    with `--compile`, compiles; floating-point operations of a frame, forward and
    backward, counted by torch (matrix products and convolutions, without what checkpointing
    computes twice); their share of the matrix product rate; and how the time falls on gradients,
    optimiser and averaging;
  - `profile`: the operations that gradients spend most time in.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.script import conditions, options, store
from benchmarks.yardsticks import Yardsticks
from dreamenv.core.allocator import keep_freed_memory
from dreamenv.core.device import pick_device
from dreamenv.core.machine import DTYPES, synchronize
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.optimizer import Average, Optimizer
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import SCHEMES, Batch, ObjectiveConfig
from dreamenv.world_model.presets import PRESETS, preset

OPERATIONS = 12
"""How many are named in a profile."""


class Trainer:
    """A model and everything that an update needs.

    Args:
        model: trained are its dynamics and heads.
        objective: of the training.
    """

    def __init__(self, model: WorldModel, objective: ObjectiveConfig) -> None:
        self.model, self.objective = model, objective
        self.stage: StageConfig = TrainConfig("", "", "").dynamics
        self.modules = nn.ModuleDict({"dynamics": model.dynamics, "head": model.head})
        layers = model.dynamics.layers
        self.optimizer = Optimizer(self.modules.values(), layers, self.stage.weight_decay)
        self.average = Average(self.modules, self.stage.ema)
        self.generator = torch.Generator().manual_seed(0)

    def windows(self, rows: int, window: int) -> Batch:
        """Random windows that begin as windows of rollouts do."""
        config, draw = self.model.config, self.generator
        latents = torch.randn(rows, window, *self.model.noise_shape(1)[2:], generator=draw)
        if config.actions.discrete:
            actions = torch.randint(config.actions.n, (rows, window), generator=draw)
            actions[:, 0] = -1
        else:
            low, high = (torch.tensor(bound) for bound in (config.actions.low, config.actions.high))
            actions = low + (high - low) * torch.rand(rows, window, len(low), generator=draw)
        rewards = torch.zeros(rows, window)
        return Batch(latents, actions, rewards, rewards.bool()).to(self.model.device)

    def gradients(self, batch: Batch) -> None:
        """Forward and backward."""
        self.model.loss(batch, self.objective, self.generator)["total"].backward()

    def update(self, batch: Batch) -> dict[str, float]:
        """One update; seconds of its parts."""
        seconds = {}
        for name, part in (
            ("gradients", lambda: self.gradients(batch)),
            ("optimiser", lambda: self.optimizer.step(self.stage.learning_rate)),
            ("averaging", lambda: self.average.update(self.modules)),
        ):
            synchronize(self.model.device)
            began = time.perf_counter()
            part()
            synchronize(self.model.device)
            seconds[name] = time.perf_counter() - began
        return seconds

    def flops(self, window: int) -> int:
        """Operations of the gradients of one row of `window` frames."""
        with FlopCounterMode(display=False) as counter:
            self.gradients(self.windows(1, window))
        for parameter in self.modules.parameters():
            parameter.grad = None
        return counter.get_total_flops()


def by_window(
    trainer: Trainer, windows: list[int], frames: int, rounds: int, yardsticks: Yardsticks,
    flops: dict[int, int],
) -> list[dict[str, Any]]:  # fmt: skip
    """Every length at about `frames` frames per update, in turns."""
    rows = {window: max(1, round(frames / window)) for window in windows}
    batches = {window: trainer.windows(rows[window], window) for window in windows}
    readings: dict[int, list[dict[str, float]]] = {window: [] for window in windows}
    warm_up: dict[int, float] = {}
    for turn in range(-1, rounds):
        for window, batch in batches.items():
            taken = trainer.update(batch)
            if turn >= 0:
                readings[window].append(taken)
            else:
                warm_up[window] = sum(taken.values())
            count = rows[window] * window
            print(f"{window} frames: {count / sum(taken.values()):.1f} frames/s", flush=True)
        yardsticks.read()
    machine = yardsticks.to_json()
    dtype = str(trainer.model.compute_dtype).removeprefix("torch.")
    result = []
    for window, updates in readings.items():
        rates = [rows[window] * window / sum(update.values()) for update in updates]
        per_frame, rate = flops[window] / window, statistics.median(rates)
        total = sum(sum(update.values()) for update in updates)
        result.append({
            "window": window,
            "rows": rows[window],
            "frames_per_second": rate,
            "readings": rates,
            "warm_up_seconds": warm_up[window],
            "flops_per_frame": per_frame,
            "share_of_matmul_rate": rate * per_frame / 1e9 / machine["matmul_gflops"][dtype],
            "share_of_time": {
                part: sum(update[part] for update in updates) / total for part in updates[0]
            },
            **machine,
        })  # fmt: skip
    return result


def operations(trainer: Trainer, window: int, rows: int) -> dict[str, Any]:
    """Where the gradients of one batch spend their time; operations' own time, the most first."""
    batch, device = trainer.windows(rows, window), trainer.model.device
    trainer.gradients(batch)
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    with profile(activities=activities) as profiler:
        began = time.perf_counter()
        trainer.gradients(batch)
        synchronize(device)
        seconds = time.perf_counter() - began
    found = sorted(
        ((getattr(e, clock) / 1e6, e.count, e.key) for e in profiler.key_averages()), reverse=True
    )
    return {
        "window": window,
        "rows": rows,
        "seconds": seconds,
        "operations": [
            {"name": name, "calls": calls, "seconds": taken}
            for taken, calls, name in found[:OPERATIONS]
        ],
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything."""
    device = pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    result = conditions("training_speed", args.device)
    torch.manual_seed(0)
    model = WorldModel(preset(args.preset)).to(device)
    model.compute_dtype = getattr(torch, args.dtype)
    trainer = Trainer(model, ObjectiveConfig(scheme=args.scheme))
    # Counted before anything is compiled: operations inside compiled code are not seen.
    flops = {window: trainer.flops(window) for window in args.windows}
    if args.compile:
        torch._dynamo.config.recompile_limit = 8 * len(model.dynamics.layers)
        for layer in model.dynamics.layers:
            layer.compile()
    if args.checkpoint_activations:
        model.dynamics.checkpoint_activations = True
    yardsticks = Yardsticks(args.matmul_size, args.copied_mebibytes, str(device))
    rows = max(1, round(args.frames / args.profile_window))
    return result | {
        "preset": args.preset,
        "parameters": sum(p.numel() for p in trainer.modules.parameters()),
        "dtype": args.dtype,
        "objective": dataclasses.asdict(trainer.objective),
        "compiled": args.compile,
        "checkpoint_activations": args.checkpoint_activations,
        "by_window": by_window(
            trainer, args.windows, args.frames, args.rounds, yardsticks, flops
        ),
        "profile": operations(trainer, args.profile_window, rows),
    }  # fmt: skip


def main() -> None:
    """Measure and store."""
    parser = options(__doc__, "training_speed.json", yardsticks=True)
    parser.add_argument("--preset", choices=list(PRESETS), default="small")
    parser.add_argument("--windows", type=int, nargs="+", default=[16, 48, 128, 512])
    parser.add_argument("--frames", type=int, default=512, help="of an update, about")
    parser.add_argument("--rounds", type=int, default=5, help="timed updates of each length")
    parser.add_argument("--profile-window", type=int, default=48)
    parser.add_argument("--scheme", choices=SCHEMES, default="clean_state")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--compile", action="store_true", help="the layers, as in training")
    parser.add_argument("--checkpoint-activations", action="store_true", help="compute them twice")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its default")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    store(args.out, measure(args))


if __name__ == "__main__":
    main()
