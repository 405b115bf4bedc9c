"""The tables of docs/worlds.md, from the row of every world in docs/results/worlds.

python -m benchmarks.worlds_page
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.script import DOCS
from benchmarks.worlds import WORLDS
from experiments.document import fill_tables
from experiments.markdown import MISSING, table

RESULTS = DOCS / "results" / "worlds"
Row = dict[str, Any]


def tables(rows: dict[str, Row]) -> dict[str, str]:
    """Name of a table in the page → Markdown.

    Args:
        rows: name of a world → what `benchmarks.worlds` stored of it.
    """
    if not rows:
        none = "No world has been run and stored yet."
        return dict.fromkeys(("runs", "frames", "events", "pictures"), none) | {"how": _how(rows)}
    return {
        "runs": _runs(rows),
        "frames": _frames(rows),
        "events": _events(rows),
        "pictures": _pictures(rows),
        "how": _how(rows),
    }


def _runs(rows: dict[str, Row]) -> str:
    header = ["world", "frames", "episodes, median steps", "events per 1,000", "terminated",
              "collecting, min", "of processor", "training, min", "of processor",
              "preset", "updates"]  # fmt: skip
    found = []
    for row in rows.values():
        rollouts, minutes, training = row["rollouts"], row["minutes"], row["training"]
        found.append([
            row["title"],
            f"{rollouts['frames']:,}",
            f"{rollouts['episodes']}, {rollouts['median_length']:g}",
            f"{1000 * rollouts['reward_events'] / rollouts['frames']:.1f}",
            f"{rollouts['terminated'] / rollouts['episodes']:.0%}",
            f"{minutes['collecting']:.1f}",
            f"{minutes['collecting_processor']:.1f}",
            f"{minutes['training']:.1f}",
            f"{minutes['training_processor']:.1f}",
            training["preset"],
            f"{training['tokenizer']['steps']} + {training['dynamics']['steps']}",
        ])  # fmt: skip
    return table(header, found)


def _frames(rows: dict[str, Row]) -> str:
    header = ["world", "tokenizer, dB", "of what moves, dB", "small things lost", "dream, step 1",
              "step 8", "step 16", "last frame again, step 16", "sharpness to the end",
              "motion to the end", "steps"]  # fmt: skip
    found = []
    for row in rows.values():
        tokenizer, psnr = row["tokenizer"], row["open_loop"]["psnr_db"]
        dream = next(curve["mean"] for name, curve in psnr.items() if name.startswith("model"))
        again = psnr["repeat last frame"]["mean"]
        last = row["life"][-1]
        found.append([
            row["title"],
            f"{tokenizer['psnr_db']:.1f}",
            _number(tokenizer.get("moving_psnr")),
            _share(tokenizer.get("moving_lost")),
            *(f"{dream[step - 1]:.1f}" for step in (1, 8, 16)),
            f"{again[15]:.1f}",
            _number(last["sharpness"]["mean"], 2),
            _number(last["motion"]["mean"], 2),
            f"{last['steps'][0]}–{last['steps'][1]}",
        ])  # fmt: skip
    return table(header, found)


def _events(rows: dict[str, Row]) -> str:
    header = ["world", "rewards seen: of", "precision", "recall", "rewards dreamt: of",
              "precision", "recall", "ends seen: of", "precision", "recall", "ends dreamt: of",
              "precision", "recall"]  # fmt: skip
    found = []
    for row in rows.values():
        rewards = row["open_loop"]["reward_events"]
        dreamt = next(iter(rewards["open_loop_clips"].values()))
        ends = row["ends"]
        cells = [*_scores(rewards["real_frames"]), *_scores(dreamt)]
        for part in ("seen", "dreamt"):
            cells += _scores(ends[part]) if part in ends else [MISSING] * 3
        found.append([row["title"], *cells])
    return table(header, found)


def _scores(scores: Row) -> list[str]:
    return [str(scores["events"]), _share(scores["precision"]), _share(scores["recall"])]


def _pictures(rows: dict[str, Row]) -> str:
    parts = [
        f"**{row['title']}** (`{row['env']}`)\n\n"
        f"![{row['title']}: real frames above, dreamt frames below](results/worlds/{name}.png)\n"
        for name, row in rows.items()
    ]
    return "\n".join(parts)


def _how(rows: dict[str, Row]) -> str:
    lines = []
    for name, row in rows.items():
        policies = ", ".join(f"`{policy}` {weight:g}" for policy, weight in row["policies"].items())
        lines.append(
            f"- {row['title']}: [{name}.json](results/worlds/{name}.json), `{row['command']}`, "
            f"policies {policies}"
        )
    missing = [f"`{name}`" for name in WORLDS if name not in rows]
    if missing:
        lines.append(f"- Not run yet: {', '.join(missing)}")
    return "\n".join(lines)


def _number(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{value:.0%}"


def stored(folder: Path = RESULTS) -> dict[str, Row]:
    """The rows that there are, in the order of `WORLDS`."""
    places = {name: folder / f"{name}.json" for name in WORLDS}
    found = {name: path for name, path in places.items() if path.exists()}
    return {name: json.loads(path.read_text("utf-8")) for name, path in found.items()}


def main() -> None:
    """Fill in the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    fill_tables(DOCS / "worlds.md", tables(stored()))


if __name__ == "__main__":
    main()
