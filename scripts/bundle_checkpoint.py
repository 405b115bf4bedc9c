"""Turn a training run into the checkpoint that ships with the package.

    python -m scripts.bundle_checkpoint dreamenv/checkpoints/memory_maze_9x9 \\
        --runs runs/dream/model runs/dream/sharp --starts runs/dream/train \\
        --rollouts runs/dream/held_out
    python -m benchmarks.open_loop --rollouts runs/dream/held_out
    python -m scripts.bundle_checkpoint dreamenv/checkpoints/memory_maze_9x9 \\
        --runs runs/dream/model runs/dream/sharp --card

The runs are those that made it, one after the other; the weights are those of the last. They are
stored in bfloat16, the precision in which the dream multiplies them. How far its dreams are to be
trusted is calibrated on the same rollouts, unless that was done for these weights. The card is
written once, after measuring: from the runs' own records and from the stored results of
`benchmarks/open_loop.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dreamenv.core.files import atomic_write_json, atomic_write_text
from dreamenv.dream.spawn_drawing import save_spawns
from dreamenv.dream.spawns import SPAWNS, Spawns, load_spawns
from dreamenv.dream.trust import TRUST, Trust
from dreamenv.evaluation.trust.calibrate import calibrate_checkpoint
from dreamenv.world_model.checkpoint import (
    CARD,
    WEIGHTS,
    load_world_model,
    read_config,
    save_world_model,
)
from dreamenv.world_model.config import SamplerConfig
from experiments.markdown import table

TRAINING = (
    *("stage", "updates", "window", "batch", "learning-rate"),
    *("scheme", "self-forcing", "levels", "commit"),
)
"""Columns of the card's table of training."""


def card(
    runs: list[Path],
    provenance: dict[str, Any],
    parameters: int,
    results: Path,
    steps: int,
    spawns: Spawns,
    note: str,
) -> Iterator[str]:
    """The lines of `card.md`; `note` stands below the table of training."""
    yield f"# World model of {provenance['env_id']}\n"
    yield (
        f"{parameters / 1e6:.1f} million parameters, trained by `dreamenv train` on "
        f"{provenance['environment_steps']:,} steps in {provenance['episodes']} episodes, each "
        "in a maze of its own, collected by `dreamenv collect`. MIT license, like the "
        "code.\n"
    )
    yield "## Training\n"
    if source := _read(runs, "history.jsonl")[0]["config"].get("weights_from"):
        yield (
            f"Begun with the weights of `{source}` as they were then, its tokenizer included; a "
            "memory by place (landmarks) was added to them.\n"
        )
    yield table(TRAINING, training_rows(runs), texts=len(TRAINING)).rstrip()
    if note:
        yield f"\n{note}"
    seconds: dict[str, float] = {}
    for own in (_read([run], "metrics.jsonl") for run in runs):
        for stage, spent in {row["stage"]: row["seconds"] for row in own}.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    yield (
        "\nTime spent: "
        + ", ".join(f"{stage} {value / 3600:.2f} h" for stage, value in seconds.items())
        + " (one CPU core). Seeds: 0 throughout; held-out mazes are of other seeds.\n"
    )
    yield "## Use\n"
    near = sum(source.get("near_reward") is not None for source in spawns.sources) / len(spawns)
    yield (
        f"{steps} denoising pass{'es' * (steps > 1)} per frame. Episodes begin from {len(spawns)} "
        f"stretches of {spawns.frames.shape[1]} real frames of "
        f"{len({source['seed'] for source in spawns.sources})} mazes"
        f"{f', {near:.0%} of them shortly before a reward' if near else ''}. The model was "
        "trained on these mazes, so that there could be many; what is measured is of others. The "
        "colour of the border after a reward is chance in the real maze and in the dream.\n"
    )
    yield "## Measured\n"
    if not results.is_file():
        yield "Nothing yet.\n"
        return
    yield f"From `{results}`; `benchmarks/open_loop.py` makes it again.\n"
    yield from measured(json.loads(results.read_text("utf-8")))


def _read(runs: list[Path], name: str) -> list[dict[str, Any]]:
    """The rows of a file of every run."""
    texts = [(run / name).read_text("utf-8") for run in runs]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def training_rows(runs: list[Path]) -> Iterator[list[str]]:
    """A row for each stretch of training that reached a checkpoint."""
    for run in runs:
        history, metrics = _read([run], "history.jsonl"), _read([run], "metrics.jsonl")
        for i, part in enumerate(history):
            config, stage = part["config"], part["config"][part["stage"]]
            later = [p["from_step"] for p in history[i + 1 :] if p["stage"] == part["stage"]]
            last = [m["step"] for m in metrics if m["stage"] == part["stage"]][-1]
            end = later[0] if later else last
            if end == part["from_step"]:
                continue  # started, and stopped before its first checkpoint
            row = [part["stage"], f"{part['from_step']}–{end}"]
            if part["stage"] == "dynamics":
                objective = config["objective"]
                row += [str(config["window"]), str(stage["batch"]), str(stage["learning_rate"])]
                row += [objective["scheme"], str(objective["self_forcing"])]
                row.append(str(objective["level_grid"]))
            else:
                row += ["1", str(stage["batch"]), str(stage["learning_rate"]), "", "", ""]
            yield [*row, part["commit"]]


def measured(result: dict[str, Any]) -> Iterator[str]:
    """The table of open-loop quality on held-out mazes, and the reward head's scores."""
    clips, events = result["clips"], result["reward_events"]["real_frames"]
    yield (
        f"{clips['clips']} clips from {clips['episodes']} held-out episodes: "
        f"{clips['context']} real "
        f"frames watched, {clips['horizon']} imagined under the recorded actions. PSNR in dB:\n"
    )
    picks = [i for i in (1, 2, 4, 8, 12, 16) if i <= clips["horizon"]]
    rows = [
        [name, *(f"{curve['mean'][i - 1]:.1f}" for i in picks)]
        for name, curve in result["psnr_db"].items()
    ]
    yield table(["frame", *map(str, picks)], rows).rstrip()
    yield (
        f"\nReward events on real frames of those episodes: {events['events']} in "
        f"{events['frames']:,} frames, average precision {_shown(events['average_precision'])}, "
        f"precision {_shown(events['precision'])}, recall {_shown(events['recall'])}.\n"
    )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def training_summary(runs: list[Path]) -> dict[str, Any]:
    """Speed, time spent waiting for data, and held-out quality over the runs, per stage."""
    summary: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "scripts.bundle_checkpoint", *sys.argv[1:]])
    }
    for run in runs:
        metrics = _read([run], "metrics.jsonl")
        for stage in dict.fromkeys(row["stage"] for row in metrics):
            own = [m for m in metrics if m["stage"] == stage]
            logged = [m for m in own if m["kind"] == "train"]
            waiting = [m["waiting_for_data"] for m in logged]
            summary.setdefault(stage, []).append(
                {
                    "updates": own[-1]["step"],
                    "seconds": own[-1]["seconds"],
                    "median_frames_per_second": statistics.median(
                        m["frames_per_second"] for m in logged
                    ),
                    "share_of_time_waiting_for_data": statistics.fmean(waiting),
                    "held_out": [
                        {k: v for k, v in m.items() if k not in ("stage", "kind", "seconds")}
                        for m in own
                        if m["kind"] == "held_out"
                    ],
                }
            )
    return summary


def write_card(runs: list[Path], out: Path, results: Path, note: str) -> None:
    """Write `card.md` beside the weights in `out`, from the records of the runs and the results."""
    config, provenance = read_config(out)
    parameters = sum(p.numel() for p in load_world_model(out).parameters())
    told = parameters, results, config.sampler.steps, load_spawns(out), note
    atomic_write_text(out / CARD, "\n".join(card(runs, provenance, *told)) + "\n")
    print(f"written: {out / CARD}")


def main() -> None:
    """Read the runs, write the checkpoint and the summary of its training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="in their order")
    parser.add_argument("--card", action="store_true", help="only write the card, after measuring")
    parser.add_argument("--steps", type=int, default=2, help="denoising passes per frame")
    parser.add_argument("--rollouts", type=Path, help="store of held-out episodes")
    parser.add_argument("--starts", type=Path, help="store that starting points are drawn from")
    parser.add_argument("--spawns", type=int, default=832, help="starting points")
    parser.add_argument("--spawn-frames", type=int, default=6, help="real frames of each")
    parser.add_argument(
        "--near-rewards", type=float, default=0.5, help="share of them just before a reward"
    )
    parser.add_argument("--context-noise", type=float, default=0.0)
    parser.add_argument("--note", default="", help="what the card says besides of the training")
    parser.add_argument("--results", type=Path, default=Path("docs/results/open_loop.json"))
    args = parser.parse_args()
    if args.card:
        return write_card(args.runs, args.out, args.results, args.note)
    if args.rollouts is None or args.starts is None:
        parser.error("--starts and --rollouts are needed: trust comes from held-out episodes")
    model = load_world_model(args.runs[-1])
    sampler = SamplerConfig(steps=args.steps, context_noise=args.context_noise)
    model.config = dataclasses.replace(model.config, sampler=sampler)
    _, provenance = read_config(args.runs[-1])
    # Folders of the machine that trained it.
    for name in ("data", "held_out", "out", "tokenizer_from", "weights_from", "latents"):
        if name in provenance["training"]:
            provenance["training"][name] = Path(provenance["training"][name]).name
    save_world_model(args.out, model, provenance, matrix_dtype=torch.bfloat16)
    save_spawns(args.out, args.starts, args.spawns, args.spawn_frames, args.near_rewards)
    if not Trust.load(args.out).calibrated:
        calibrate_checkpoint(args.out, args.rollouts, progress=True)
    atomic_write_json(args.results.with_name("training.json"), training_summary(args.runs))
    size = sum(f.stat().st_size for f in args.out.iterdir()) / 1e6
    print(f"{args.out}: {size:.1f} MB, of which {WEIGHTS}, {SPAWNS} and {TRUST}")


if __name__ == "__main__":
    main()
