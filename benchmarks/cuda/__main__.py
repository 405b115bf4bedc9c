"""Every check and measurement that needs a GPU, in one call, into one result file.

    python -m benchmarks.cuda

What `docs/results/cuda.json` holds, each part with the seconds it took; a part that fails holds its
error, and the others go on. The file is written anew after every part.
  - `conditions`: GPU, versions, matrix product and copy rates;
  - `scans`, `steps`, `whole_model`, `graphs`, `same_dream`: whether kernels compute what the
    reference path computes (`benchmarks/cuda/checks.py`), graphs what single launches do, and
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
import time
import traceback
from typing import Any

import torch

from benchmarks.cuda import checks, correctness, dreams, training
from benchmarks.cuda.common import LeftOutError, Part
from benchmarks.script import conditions, options
from benchmarks.yardsticks import Yardsticks
from dreamenv.core.device import pick_device
from dreamenv.core.files import atomic_write_json
from dreamenv.core.machine import synchronize
from dreamenv.world_model.presets import PRESETS

PACKAGES = ("torch", "triton", "mamba-ssm", "einops", "numpy", "gymnasium")


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
    parser = options(__doc__, "cuda.json")
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
    with checks.tf32():
        fresh = yardsticks.fresh()
        fresh.read()
        found["matmul_gflops"]["tf32"] = fresh.to_json()["matmul_gflops"]["float32"]
    return found


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


PARTS: dict[str, Part] = {
    "scans": correctness.scans,
    "steps": correctness.steps,
    "graphs": correctness.graphs,
    "same_dream": correctness.same_dream,
    "host_waits": correctness.host_waits,
    "one_slot": dreams.one_slot,
    "dream": dreams.dreams,
    "variants": dreams.variants,
    "profile": dreams.profile,
    "whole_model": correctness.whole_model,
    "scan_speed": training.scan_speed,
    "training": training.training,
    "memory": training.memory,
    "tuning": training.tuning,
    "over_time": dreams.over_time,
    "real": dreams.real,
}


if __name__ == "__main__":
    main()
