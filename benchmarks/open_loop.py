"""How long a dream stays close to the real maze, on episodes the model never trained on.

    dreamenv collect --env MemoryMaze-9x9-v0 --frames 10000 --max-episode-steps 500 \\
        --policy goal=0.25 goal:0.5=0.2 wandering=0.35 sticky=0.15 uniform=0.05 --seed 1000 \\
        --out rollouts/held_out
    python -m benchmarks.open_loop --rollouts rollouts/held_out

The model watches 32 real frames and imagines 16 under the recorded actions, or as many as
`--protocol dfot` (100 and 50, every second frame) or `teco` (144 and 156) say; beside it stand
repeating the last frame, the mean frame, and the tokenizer's reconstruction of the real frames.
Rewards are read from the real frames of all episodes. Results: docs/results/open_loop.json and
docs/real_above_dreamt.png, whose clips are the first ones drawn.
"""

from __future__ import annotations

import io
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

import dreamenv
from benchmarks.script import DOCS, conditions, options, store
from dreamenv.core.allocator import keep_freed_memory
from dreamenv.core.errors import DreamEnvError
from dreamenv.core.files import atomic_write_bytes
from dreamenv.core.tables import aligned
from dreamenv.evaluation.metrics.film_strip import film_strip
from dreamenv.evaluation.metrics.held_out import HeldOut, measure_held_out
from dreamenv.evaluation.metrics.protocols import PROTOCOLS, protocol_of
from dreamenv.rollouts.store import RolloutStore


def main() -> int:
    """Measure, store the numbers and the picture, print the table."""
    parser = options(__doc__, "open_loop.json")
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--rollouts", required=True, help="store of held-out episodes")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--protocol", default="short", help=f"one of {', '.join(PROTOCOLS)}")
    parser.add_argument("--steps", type=int, nargs="*", default=[1, 2, 4, 8], help="K to compare")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--strips", type=int, default=4, help="clips in the picture")
    parser.add_argument("--picture", type=Path, default=DOCS / "real_above_dreamt.png")
    args = parser.parse_args()
    if args.device == "cpu":
        keep_freed_memory()
    try:
        protocol = protocol_of(args.protocol, RolloutStore(args.rollouts))
        measured = measure_held_out(
            args.checkpoint,
            args.rollouts,
            args.clips,
            protocol.context,
            protocol.horizon,
            steps=args.steps,
            seed=args.seed,
            dtype=args.dtype,
            device=args.device,
            progress=True,
        )
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result = {
        **conditions("open_loop", args.device),
        "protocol": {"name": args.protocol, **asdict(protocol)},
        "dreamenv": dreamenv.__version__,
        **measured.to_json(),
    }
    _write_picture(measured, args.picture, args.strips)
    print(_table(result))
    print(f"\nwritten: {args.picture}")
    store(args.out, result)
    return 0


def _write_picture(measured: HeldOut, path: Path, clips: int) -> None:
    loop = measured.open_loop
    dreamt = loop.dreamt[:clips]
    picture = film_strip(measured.clips.frames[: len(dreamt)], dreamt, loop.context)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png", optimize=True)
    atomic_write_bytes(path, buffer.getvalue())


def _table(result: dict[str, Any]) -> str:
    picks = [step for step in (1, 2, 4, 8, 16, 50, 156) if step <= result["clips"]["horizon"]]
    lines = []
    for metric, digits in (("psnr_db", 2), ("ssim", 3)):
        rows = [[f"{metric}, imagined step", *map(str, picks)]]
        for name, curve in result[metric].items():
            rows.append([name, *(f"{curve['mean'][step - 1]:.{digits}f}" for step in picks)])
        lines += [*aligned(rows), ""]
    for name, margins in result["psnr_db_above"].items():
        for baseline, curve in margins.items():
            lowest = min(curve["low"] or curve["mean"])
            lines.append(f"{name} above {baseline}: at least {lowest:+.2f} dB at every step")
    events = result["reward_events"]["real_frames"]
    if events["events"]:
        interval = events["average_precision_interval"]
        lines += [
            "",
            f"{events['events']} reward events in {events['frames']} real frames: average "
            f"precision {events['average_precision']:.3f}, interval {interval['low']} to "
            f"{interval['high']}; paid {events['predicted']}, of them right {events['correct']}",
        ]
    else:
        lines += ["", f"no reward event in {events['frames']} real frames"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
