"""Small worlds from collecting to a measured dream, a row of docs/worlds.md each.

    python -m benchmarks.worlds pong crafter --folder runs/worlds

Each world is collected, trained and measured by what `dreamenv` does; a run that was killed goes on
when the same command is given again. Results: docs/results/worlds/NAME.json and NAME.png. Training
is kept short on purpose: the rows say what a few minutes bring, not what can be had.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import dreamenv
from benchmarks.script import DOCS, conditions, store
from dreamenv.core.errors import DreamEnvError, RolloutError
from dreamenv.core.files import atomic_write_bytes, atomic_write_json
from dreamenv.core.json_lines import read_json_lines
from dreamenv.evaluation.life.clips import long_clips
from dreamenv.evaluation.life.lives import watch_lives
from dreamenv.evaluation.metrics.ends import draw_end_clips, score_ends
from dreamenv.evaluation.metrics.film_strip import film_strip
from dreamenv.evaluation.metrics.held_out import measure_held_out
from dreamenv.real.plugin import collecting
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import reward_table
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.data import sample_pairs
from dreamenv.training.moving import measure_moving
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model
from dreamenv.world_model.preprocessing import to_unit


@dataclass(frozen=True)
class World:
    """What a row is made of."""

    env: str
    title: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    frames: int = 20_000
    held_out: int = 3_000
    steps: int | None = None
    """Cut episodes here."""
    moving: float = 0.0
    size: int = 64
    window: int = 24
    tokenizer: int = 600
    dynamics: int = 600


WORLDS = {
    "vizdoom": World("Pixels-VizdoomMyWayHome-v1", "VizDoom, MyWayHome"),
    "luanti": World("Luanti-v0", "Luanti, errands in a meadow"),
    "breakout": World("Pixels-Breakout-v5", "Atari, Breakout, an episode a life", moving=20),
    "breakout-84": World(
        "Pixels-Breakout-v5", "Breakout, 84 by 84", {"size": 84}, moving=20, size=84
    ),
    "breakout-plain": World("Pixels-Breakout-v5", "Breakout, every pixel alike"),
    "car-racing": World("Pixels-CarRacing-v3", "CarRacing, box actions", frames=10_000),
    "minigrid-8x8": World("Pixels-MiniGrid-Empty-8x8-v0", "MiniGrid, Empty 8x8"),
    "crafter": World("Pixels-Crafter-v1", "Crafter"),
    "miniworld": World("Pixels-MiniWorld-Hallway-v0", "MiniWorld, Hallway"),
    "pong": World("Pixels-Pong-v5", "Atari, Pong", steps=500, moving=20),
    "pong-84": World(
        "Pixels-Pong-v5", "Pong, 84 by 84", {"size": 84}, steps=500, moving=20, size=84
    ),
    "pong-plain": World("Pixels-Pong-v5", "Pong, every pixel alike", steps=500),
    "cart-pole": World("Pixels-CartPole-v1", "CartPole from pixels"),
}
CONTEXT, HORIZON = 16, 16
LIFE, LIVES = 256, 8
"""Most steps that are dreamt on, and clips of which they are measured."""


def main() -> int:
    """Make the rows that are asked for, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", default=[*WORLDS], help="rows to make; all")
    parser.add_argument("--folder", type=Path, default=Path("runs/worlds"), help="of the runs")
    parser.add_argument("--out", type=Path, default=DOCS / "results" / "worlds")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--frames", type=float, default=1.0, help="times the frames of each row")
    parser.add_argument("--updates", type=float, default=1.0, help="times the updates of each row")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--collect-only", action="store_true")
    args = parser.parse_args()
    for name in args.worlds:
        if name not in WORLDS:
            parser.error(f"there is no world {name!r}; there are {', '.join(WORLDS)}")
    try:
        for name in args.worlds:
            world = WORLDS[name]
            world = replace(
                world,
                frames=int(world.frames * args.frames),
                held_out=int(world.held_out * args.frames),
                tokenizer=int(world.tokenizer * args.updates),
                dynamics=int(world.dynamics * args.updates),
            )
            _row(name, world, args)
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _row(name: str, world: World, args: argparse.Namespace) -> None:
    folder = args.folder / name
    # Rows that differ in training alone share their rollouts.
    data = args.folder / name.removesuffix("-plain")
    told = {name: round(weight, 3) for name, weight in collecting(world.env).items()}
    for part, frames, seed in (("train", world.frames, 1), ("held_out", world.held_out, 2)):
        _timed(data, f"collect_{part}", lambda part=part, frames=frames, seed=seed: collect(
            world.env, frames, told, 1, data / part, seed, world.kwargs, world.steps
        ))  # fmt: skip
    if args.collect_only:
        return
    held_out = RolloutStore(data / "held_out")
    config = TrainConfig(
        str(data / "train"),
        str(data / "held_out"),
        str(folder / "model"),
        preset=args.preset,
        window=world.window,
        moving_pixels=world.moving,
        frame_size=(world.size, world.size),
        threads=1,
        tokenizer=StageConfig(world.tokenizer, 32, 2e-3, ema=0.99),
        dynamics=StageConfig(world.dynamics, 4, 2e-3, ema=0.99),
        evaluate_every=10**6,
        checkpoint_every=50,
    )
    began = time.process_time()
    train_world_model(config)
    train_seconds = time.process_time() - began
    collecting_took = json.loads((data / "collect_train.json").read_text("utf-8"))
    rows = read_json_lines(folder / "model" / "metrics.jsonl")
    result = {
        **conditions("worlds"),
        "command": _command(name, args),
        "dreamenv": dreamenv.__version__,
        "title": world.title,
        "env": world.env,
        "env_kwargs": world.kwargs,
        "policies": told,
        "training": asdict(config) | {"data": "train", "held_out": "held_out", "out": "model"},
        "rollouts": _told(RolloutStore(data / "train")),
        "held_out": _told(held_out),
        "minutes": {
            "collecting": collecting_took["seconds"] / 60,
            "collecting_processor": collecting_took["processor_seconds"] / 60,
            "training": sum(_last_seconds(rows, s) for s in ("tokenizer", "dynamics")) / 60,
            "training_processor": train_seconds / 60,
        },
        **_measured(folder, held_out, world, args),
    }
    store(args.out / f"{name}.json", result)


def _command(name: str, args: argparse.Namespace) -> str:
    """The command that makes a row again, wherever it is to be kept."""
    told = {"preset": args.preset, "frames": args.frames, "updates": args.updates}
    options = [f"--{key} {value}" for key, value in (told | {"clips": args.clips}).items()]
    return " ".join(["python -m benchmarks.worlds", name, *options])


def _timed(folder: Path, name: str, work: Any) -> None:
    """Do it once, and keep how long it took, by the clock and of its processes' processor time."""
    path = folder / f"{name}.json"
    if path.exists():
        return
    began, busy = time.perf_counter(), _children()
    if not work():
        raise KeyboardInterrupt
    took = {"seconds": time.perf_counter() - began, "processor_seconds": _children() - busy}
    atomic_write_json(path, took)


def _children() -> float:
    """Processor seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _last_seconds(rows: list[dict[str, Any]], stage: str) -> float:
    return max((row["seconds"] for row in rows if row["stage"] == stage), default=0.0)


def _told(rollouts: RolloutStore) -> dict[str, Any]:
    ends = (rollouts.read_steps(i)["terminated"][-1:].any() for i in range(rollouts.num_episodes))
    return {
        "frames": rollouts.num_steps,
        "episodes": rollouts.num_episodes,
        "median_length": float(np.median(rollouts.lengths)),
        "terminated": sum(map(bool, ends)),
        "reward_events": int(rollouts.reward_events.sum()),
        "by_policy": reward_table(rollouts).splitlines(),
        "seed": rollouts.metadata["collect"]["seed"],
    }


def _measured(
    folder: Path, held_out: RolloutStore, world: World, args: argparse.Namespace
) -> dict[str, Any]:
    checkpoint = folder / "model"
    model = load_world_model(checkpoint, torch.device("cpu"))
    size = model.config.frame_size
    pairs = torch.from_numpy(sample_pairs(held_out, 256, np.random.default_rng(0), size))
    real = to_unit(pairs[0])
    with torch.no_grad():
        decoded = model.decode(model.tokenizer.encode(real))
    open_loop = measure_held_out(
        checkpoint, held_out.path, args.clips, CONTEXT, HORIZON, seed=0, progress=True
    )
    dreamt = open_loop.open_loop.dreamt[:3]
    picture = film_strip(open_loop.clips.frames[:3], dreamt, CONTEXT)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png", optimize=True)
    atomic_write_bytes(args.out / f"{folder.name}.png", buffer.getvalue())
    try:
        clips = draw_end_clips(held_out, size, args.clips, CONTEXT, HORIZON)
        ends: dict[str, Any] = score_ends(model, held_out, clips)
    except RolloutError as error:
        # Without the folder, which only this machine has.
        ends = {"missing": str(error).replace(f"{args.folder}/", "")}
    # So many steps that there are enough episodes which are as long.
    long = int(np.sort(held_out.lengths)[-min(LIVES // 2, held_out.num_episodes)])
    steps = max(1, min(LIFE, long + 1 - CONTEXT))
    life = watch_lives(model, long_clips(held_out, LIVES, CONTEXT, steps, size, 0))
    return {
        "tokenizer": {
            "psnr_db": float(-10 * torch.log10((real - decoded).square().mean())),
            **measure_moving(model, pairs),
        },
        "open_loop": open_loop.to_json(),
        "ends": ends,
        "life": life.to_json(),
    }


if __name__ == "__main__":
    sys.exit(main())
