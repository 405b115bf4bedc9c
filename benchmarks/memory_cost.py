"""What memory costs a world model: ours, full attention, and attention over a window.

    OMP_NUM_THREADS=1 python -m benchmarks.memory_cost

Seconds and peak memory of a training iteration against the length of the sequence, and of a
dreamt step against the number of frames before it; `experiments/cost.py` says exactly of
what, and in which form they are stored. Close other programs first. When interrupted, the same
command goes on. `--quick` only shows that it runs.
"""

from __future__ import annotations

import dataclasses
import sys

from benchmarks.script import command, options
from dreamenv.core.errors import DreamEnvError
from dreamenv.world_model.presets import preset
from experiments.cost import CostConfig, measure_cost
from experiments.cost_readings import Conditions


def main() -> int:
    """Measure, store, print the exponents."""
    parser = options(__doc__, "memory_cost.json")
    parser.add_argument("--preset", help="of ours; default: the memory-maze suite's architecture")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", help="float32 or bfloat16; default: the suite's")
    parser.add_argument("--rounds", type=int, default=CostConfig.rounds)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    try:
        config = CostConfig(rounds=args.rounds)
        conditions = Conditions(args.device, args.dtype or config.conditions.dtype)
        config = dataclasses.replace(config, conditions=conditions)
        if args.preset:
            config = dataclasses.replace(config, base=preset(args.preset))
        if args.quick:
            config = dataclasses.replace(config.quick(), rounds=args.rounds)
        result = measure_cost(config, args.out, command("memory_cost"))
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130
    for name, curves in result["exponents"].items():
        for curve, fit in curves.items():
            if fit:
                print(
                    f"{name:14} {curve:17} ∝ frames^{fit['mean']:.2f} "
                    f"[{fit['low']}, {fit['high']}], {fit['from']} … {fit['to']} frames"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
