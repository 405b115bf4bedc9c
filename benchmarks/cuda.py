"""Every check and measurement that needs a GPU, in one call, into one result file.

    python -m benchmarks.cuda

What `docs/results/cuda.json` holds, each part with the seconds it took; a part that fails holds its
error, and the others go on. The file is written anew after every part.
  - `conditions`: GPU, versions, matrix product and copy rates;
  - `scans`, `steps`, `whole_model`, `graphs`, `same_dream`: whether kernels compute what the
    reference path computes (`benchmarks/cuda_checks.py`), graphs what single launches do, and
    CUDA dreams what the CPU does;
  - `host_waits`: how often a step of the environment waits for the device, as torch sees it;
  - `one_slot`, `dream`: seconds per step of one dream; frames/s by slots and denoising passes K;
  - `variants`: milliseconds of `imagine` by torch's operations and by Triton's kernels, one by one
    and as a graph; `profile`: where a step's time goes;
  - `over_time`: an old dream beside a young one;
  - `scan_speed`, `training`: forward and backward of the scan alone, and updates of the dynamics,
    with mamba-ssm's kernels and without; `memory`: bytes of an update with
    `checkpoint_activations` and without; `tuning`: sizes of the kernels' parts;
  - `real`: the real environment in one process per core, and 256 dreams, in turns;
  - `targets`: what was aimed at and what was reached.
`--device cpu` runs what a CPU can; the rest says that it was left out. mamba-ssm's kernels tune
themselves when first used, which takes minutes: `TRITON_CACHE_AUTOTUNING=1` keeps what they find.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import cuda_checks
from benchmarks.yardsticks import Yardsticks, conditions
from dreamenv.core.device import pick_device
from dreamenv.core.files import atomic_write_json
from dreamenv.core.machine import synchronize
from dreamenv.world_model.checkpoint import checkpoint_folder, load_world_model
from dreamenv.world_model.config import PRESETS, preset
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network import ssd
from dreamenv.world_model.network.ssd import ScanInputs, ssd_scan
from dreamenv.world_model.objective import ObjectiveConfig
from dreamenv.world_model.runtime.cuda import stepper as triton_stepping
from dreamenv.world_model.runtime.cuda.graphs import StepGraphs, cuda_capture
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.select import make_stepper

RESULT = Path(__file__).parents[1] / "docs" / "results" / "cuda.json"
PACKAGES = ("torch", "triton", "mamba-ssm", "einops", "numpy", "gymnasium")
MANY_SLOTS = 256


class LeftOutError(Exception):
    """A part needs what this machine does not have."""


def main() -> None:
    """Run all parts, or those that are named, and store what they give."""
    args = _arguments()
    device = pick_device(args.device)
    torch.manual_seed(0)
    result: dict[str, Any] = {"conditions": conditions("cuda", args.device) | _versions()}
    chosen = [name for name in PARTS if not args.parts or name in args.parts]
    for name in ("yardsticks", *chosen):
        began = time.perf_counter()
        try:
            found = PARTS.get(name, _yardsticks)(args, device)
        except LeftOutError as error:
            found = {"left_out": str(error)}
        except Exception as error:
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}",
                     "where": traceback.format_exc().splitlines()[-8:]}  # fmt: skip
        synchronize(device)
        result[name] = {"seconds": round(time.perf_counter() - began, 1), **found}
        result["targets"] = _targets(result)
        atomic_write_json(args.out, result)
        print(f"{name}: {str(result[name])[:300]}", flush=True)
    print(f"written: {args.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="by default all")
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 8, 32, 128, 256, 1024])
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=1.0, help="of one reading")
    parser.add_argument("--steps", type=int, default=1000, help="of one slot")
    parser.add_argument("--ages", type=int, nargs="+", default=[100, 10000])
    parser.add_argument("--pairs", type=int, default=400, help="of steps at each age")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["small", "base"])
    parser.add_argument("--rows", type=int, default=16, help="windows per update")
    parser.add_argument("--window", type=int, default=64, help="frames of each")
    parser.add_argument("--updates", type=int, default=10, help="timed, of each kind")
    parser.add_argument("--compile", action="store_true", help="measure compiled layers as well")
    parser.add_argument("--real", default="MemoryMaze-9x9-v0")
    parser.add_argument("--rounds", type=int, default=3, help="beside the real environment")
    parser.add_argument("--real-seconds", type=float, default=5.0)
    parser.add_argument("--check-frames", type=int, default=24, help="of scans that are checked")
    parser.add_argument("--matmul-size", type=int, default=8192)
    parser.add_argument("--copied-mebibytes", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def _versions() -> dict[str, Any]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {"versions": found, "cuda": torch.version.cuda}


def _yardsticks(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    yardsticks = Yardsticks(args.matmul_size, args.copied_mebibytes, str(device))
    yardsticks.read()
    found = yardsticks.to_json()
    with cuda_checks.tf32():
        fresh = yardsticks.fresh()
        fresh.read()
        found["matmul_gflops"]["tf32"] = fresh.to_json()["matmul_gflops"]["float32"]
    return found


def _cuda_only(device: torch.device) -> None:
    if device.type != "cuda":
        raise LeftOutError("needs CUDA")


def _model(args: argparse.Namespace, device: torch.device) -> WorldModel:
    """The checkpoint in float32."""
    return load_world_model(checkpoint_folder(args.checkpoint), device)


def _scans(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    _cuda_only(device)
    model = _model(args, device)
    config = model.config.dynamics
    sizes = (4, args.check_frames, 8, config.ssm_head_dim, config.ssm_state_dim)
    return _verdict(cuda_checks.scans(device, *sizes))


def _steps(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    _cuda_only(device)
    return _verdict(cuda_checks.steps(_model(args, device), slots=6, count=4))


def _whole_model(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    # On CUDA as many as it takes for kernels to be chosen (`mamba_kernels.LEAST_TOKENS`).
    count = 16 if device.type == "cuda" else 2
    rows = cuda_checks.whole_model(_model(args, device), count, args.check_frames)
    return _verdict(rows)


def _verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    worst = max(part["kernels"] for row in rows for part in row["parts"].values())
    return {"passes": all(row["passes"] for row in rows), "worst": worst, "rows": rows}


def _graphs(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    _cuda_only(device)
    return cuda_checks.graphs(_model(args, device), slots=6, count=12)


def _same_dream(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """One seed on the CPU and here, in float32, and alone and among others."""
    from dreamenv.dream.vector_env import DreamVectorEnv

    _cuda_only(device)
    taken = {}
    for name, where, slots in (("cpu", "cpu", 3), ("here", device, 3), ("alone", device, 1)):
        env = DreamVectorEnv(slots, args.checkpoint, device=str(where), dtype="float32")
        env.reset(seed=0)
        actions = np.random.default_rng(0).integers(0, 6, (16, 3))
        frames = [env.step(row[:slots])[0][0] for row in actions]
        taken[name] = np.stack(frames).astype(int)
    errors = {name: np.abs(taken["here"] - taken[name]) for name in ("cpu", "alone")}
    found = {name: {"mean": float(e.mean()), "most": int(e.max())} for name, e in errors.items()}
    return {"grey_levels": found, "passes": max(e.mean() for e in errors.values()) < 1}


def _host_waits(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Waits that torch warns of, in ten steps; reading the results waits once more, by intent."""
    _cuda_only(device)
    env = _dream(args, 8)
    _step(env, 5)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _step(env, 10)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [f"{w.filename}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
    return {"in_ten_steps": len(found), "where": sorted(set(found)), "passes": not found}


def _dream(args: argparse.Namespace, slots: int, passes: int | None = None) -> Any:
    from dreamenv.dream.vector_env import DreamVectorEnv

    env = DreamVectorEnv(
        slots, args.checkpoint, device=args.device, denoising_steps=passes, horizon=10**6
    )
    env.action_space.seed(0)
    env.reset(seed=0)
    return env


def _step(env: Any, count: int) -> None:
    for _ in range(count):
        env.step(env.action_space.sample())


def _one_slot(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    from benchmarks.ageing import step_times

    env = _dream(args, 1)
    step_times(env, 20)
    seconds = step_times(env, args.steps)
    return {
        "milliseconds_median": 1e3 * statistics.median(seconds),
        "milliseconds_99th": 1e3 * float(np.quantile(seconds, 0.99)),
    }


def _dreams(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    from benchmarks.dream_speed import time_dream

    rows = []
    for slots in args.slots:
        for passes in args.passes:
            env = _dream(args, slots, passes)
            _step(env, 5)
            rate = time_dream(env, args.seconds)
            rows.append({"slots": slots, "denoising_steps": passes, "frames_per_second": rate})
    return {"rows": rows}


def _variants(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    model = _model(args, device)
    model.compute_dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    steppers = {"torch": FrameStepper, "triton": make_stepper}
    captures = {"single launches": None, "graph": cuda_capture}
    if device.type != "cuda":
        del steppers["triton"], captures["graph"]
    rows = []
    for slots in sorted({min(args.slots), max(s for s in args.slots if s <= MANY_SLOTS)}):
        for kind, make in steppers.items():
            for how, capture in captures.items():
                stepper = make(model.dynamics, model.tokenizer, model.compute_dtype)
                stepper.graphs = StepGraphs(capture)
                model.use(stepper)
                state = model.initial_state(slots)
                given = (cuda_checks.actions_of(model, slots, 0),
                         torch.zeros(model.noise_shape(slots), device=device))  # fmt: skip

                def imagine(state: Any = state, given: Any = given) -> None:
                    model.imagine(state, *given, reuse=True)

                seconds = _timed(imagine, device, rounds=20)
                rows.append({"slots": slots, "by": kind, "as": how, "milliseconds": 1e3 * seconds})
    return {"rows": rows}


def _tuning(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Sizes that only speed depends on: milliseconds of a step, and of the scans of training."""
    _cuda_only(device)
    found: dict[str, Any] = {"scan_part": [], "kernel_chunk": []}
    with _other_value(triton_stepping, "SCAN_PART") as set_part:
        for part in (16, 32, 64):
            set_part(part)
            found["scan_part"].append({"size": part, **_variants(args, device)})
    with _other_value(ssd, "KERNEL_CHUNK") as set_chunk:
        for chunk in (64, 128, 256):
            set_chunk(chunk)
            found["kernel_chunk"].append({"size": chunk, **_scan_speed(args, device)})
    return found


@contextmanager
def _other_value(module: Any, name: str) -> Iterator[Callable[[Any], None]]:
    """Sets an attribute of a module to other values for as long as this lasts."""
    before = getattr(module, name)
    try:
        yield lambda value: setattr(module, name, value)
    finally:
        setattr(module, name, before)


def _profile(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Where a step of many slots goes: drawing noise, and the operations that take longest."""
    from torch.profiler import ProfilerActivity, profile

    slots = max(s for s in args.slots if s <= MANY_SLOTS)
    env = _dream(args, slots)
    _step(env, 5)
    step = _timed(lambda: _step(env, 1), device, rounds=10)
    noise = np.zeros(env.loaded.model.noise_shape(slots), np.float32)
    generators = [np.random.default_rng(i) for i in range(slots)]
    began = time.perf_counter()
    for i, generator in enumerate(generators):
        generator.standard_normal(dtype=np.float32, out=noise[i, :1])
    drawing = time.perf_counter() - began
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    with profile(activities=activities) as profiler:
        _step(env, 5)
    spent = {event.key: getattr(event, clock) / 5e3 for event in profiler.key_averages()}
    most = sorted(spent.items(), key=lambda item: -item[1])[:20]
    return {
        "slots": slots,
        "milliseconds": {"step": 1e3 * step, "noise": 1e3 * drawing, "device": sum(spent.values())},
        "operations": {name: value for name, value in most if value},
    }


def _over_time(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    from benchmarks.ageing import over_time

    if pick_device("auto").type != device.type:
        raise LeftOutError("is measured on the usual device only")
    return over_time(args.checkpoint, args.ages, args.pairs)


def _scan_speed(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Two streams, forward and backward, at the sizes of training, in bfloat16."""
    rows = []
    for name in args.presets:
        config = preset(name).dynamics
        tokens = preset(name).grid[0] * preset(name).grid[1]
        heads = config.width * config.ssm_expand // config.ssm_head_dim
        for size in sorted({height * width for height, width in config.scan_blocks}):
            draw = cuda_checks._Draw(device, torch.bfloat16, 0)
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


def _training(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    from benchmarks.training_speed import Trainer

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


def _memory(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    from benchmarks.training_speed import Trainer

    _cuda_only(device)
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
                seconds = _timed(lambda: trainer.update(batch), device, 3)  # noqa: B023
                row |= {"milliseconds": 1e3 * seconds}
            except torch.OutOfMemoryError as error:
                row |= {"error": str(error)}
            rows.append(row | {"peak_bytes": torch.cuda.max_memory_allocated(device)})
    return {"rows": rows}


def _real(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    from benchmarks.dream_speed import against_real

    if not args.real:
        raise LeftOutError("no real environment was named")
    env = _dream(args, max(args.slots) if max(args.slots) < MANY_SLOTS else MANY_SLOTS)
    yardsticks = Yardsticks(args.matmul_size, args.copied_mebibytes, str(device))
    return against_real(args.real, env, args.rounds, args.real_seconds, yardsticks)


def _with_and_without(
    run: Callable[[], None], device: torch.device, rounds: int = 10
) -> dict[str, float]:
    """Milliseconds by the reference path, and by mamba-ssm's kernels where there is CUDA."""
    with cuda_checks.kernels(False):
        found = {"milliseconds_reference": 1e3 * _timed(run, device, rounds)}
    if device.type == "cuda":
        with cuda_checks.kernels(True):
            found["milliseconds_kernels"] = 1e3 * _timed(run, device, rounds)
        found["speedup"] = found["milliseconds_reference"] / found["milliseconds_kernels"]
    return found


def _timed(run: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Median seconds, after four runs that are not timed."""
    for _ in range(4):
        run()
    seconds = []
    for _ in range(rounds):
        synchronize(device)
        began = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _targets(result: dict[str, Any]) -> dict[str, Any]:
    """The figures that were aimed at, as far as they were measured."""
    found: dict[str, Any] = {}
    for name in ("scans", "steps", "whole_model", "graphs", "same_dream", "host_waits"):
        found[name] = result.get(name, {}).get("passes")
    median = result.get("one_slot", {}).get("milliseconds_median")
    found["one slot in at most 10 ms"] = None if median is None else median <= 10
    ratio = result.get("real", {}).get("ratio")
    found["dreams to real frames/s, at least 100"] = ratio
    for part in ("scan_speed", "training"):
        rows = [row.get("speedup") for row in result.get(part, {}).get("rows", [])]
        found[f"{part}: kernels to reference path, at least 3"] = rows
    return found


Part = Callable[[argparse.Namespace, torch.device], dict[str, Any]]
PARTS: dict[str, Part] = {
    "scans": _scans,
    "steps": _steps,
    "graphs": _graphs,
    "same_dream": _same_dream,
    "host_waits": _host_waits,
    "one_slot": _one_slot,
    "dream": _dreams,
    "variants": _variants,
    "profile": _profile,
    "whole_model": _whole_model,
    "scan_speed": _scan_speed,
    "training": _training,
    "memory": _memory,
    "tuning": _tuning,
    "over_time": _over_time,
    "real": _real,
}


if __name__ == "__main__":
    main()
