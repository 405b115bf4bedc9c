"""`dreamenv trust`: calibrate how far a checkpoint's dreams are to be trusted."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamenv.cli.options import command_line

SPANS = (16, 64)
"""Imagined frames over which signals are compared: while dreams hold, and long after."""


@dataclass(frozen=True)
class Options:
    """What to calibrate, and on what."""

    checkpoint: str
    """Checkpoint folder, or bundled:NAME."""
    rollouts: Path
    """Store of held-out episodes."""
    clips: int = 160
    """Stretches to dream."""
    context: int = 32
    """Frames watched of each."""
    horizon: int = 64
    """Frames dreamt of each."""
    seed: int = 0
    """Of stretches and noise."""
    device: str = "auto"
    """Torch device."""
    test: Path | None = None
    """Store of other held-out episodes: compare signals on it, and write `out`."""
    out: Path | None = None
    """JSON for the comparison, needed with `test`."""


def run(args: Options) -> int:
    """Calibrate, and compare if there is a store to compare on."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from dreamenv.core.errors import ConfigError
    from dreamenv.core.files import require_writable
    from dreamenv.core.hub import is_hub_name
    from dreamenv.core.ranges import require_ranges
    from dreamenv.dream.trust import TRUST
    from dreamenv.evaluation.trust.calibrate import calibrate_checkpoint
    from dreamenv.evaluation.trust.comparison import compare_stores
    from dreamenv.world_model.checkpoint import checkpoint_folder

    require_ranges(args, {"clips": 1, "context": 1, "horizon": 1, "seed": 0})
    if bool(args.test) != bool(args.out):
        raise ConfigError("--test and --out belong together: what to compare on, and where to say")
    if is_hub_name(args.checkpoint):
        raise ConfigError(
            "what was measured is written beside the weights, and those of the hub are only "
            f"borrowed; copy {checkpoint_folder(args.checkpoint)} and name the copy"
        )
    folder = checkpoint_folder(args.checkpoint)
    require_writable(folder, "the checkpoint's folder")  # now, not after long measuring
    if args.out is not None:
        require_writable(args.out.parent, "the folder of --out")
    sizes = args.clips, args.context, args.horizon, args.seed
    progress = sys.stderr.isatty()
    if args.test:
        spans = tuple(span for span in SPANS if span < args.horizon) + (args.horizon,)
        trust, result = compare_stores(
            folder, args.rollouts, args.test, *sizes,
            spans=spans, device=args.device, progress=progress,
        )  # fmt: skip
        trust.save(folder)
        _write(args, result, f"first {spans[0]} frames")
    else:
        trust = calibrate_checkpoint(
            folder, args.rollouts, *sizes, device=args.device, progress=progress
        )
    shown = ", ".join(
        f"{u:.2f} → {e:.2f}" for u, e in zip(trust.uncertainty, trust.explained, strict=True)
    )
    print(f"uncertainty → trust: {shown}\nwritten: {folder / TRUST}")
    return 0


def _write(args: Options, result: dict[str, Any], span: str) -> None:
    from dreamenv.core.files import atomic_write_json
    from dreamenv.core.machine import machine
    from dreamenv.core.statistics import CONFIDENCE
    from dreamenv.core.tables import aligned

    about = {
        "command": command_line(),
        "machine": machine(args.device),
        "interval": f"{CONFIDENCE:.0%} percentile bootstrap over episodes",
    }
    assert args.out is not None
    atomic_write_json(args.out, about | result)
    for line in aligned(_table(result, span)):
        print(line)
    print(f"written: {args.out}")


def _table(result: dict[str, Any], span: str) -> list[list[str]]:
    first = next(iter(result["signals"].values()))[span]
    rows = [[f"signal, {span}", *first]]
    for name, scores in result["signals"].items():
        values = [scores[span][column]["mean"] for column in first]
        rows.append([name, *("-" if v is None else f"{v:.3f}" for v in values)])
    return rows
