"""Fills in `docs/results.md` from the stored results; measures nothing.

    python -m benchmarks.results_page

Everything between `<!-- table: NAME -->` and `<!-- end -->` comes from docs/results/.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from textwrap import shorten
from typing import Any

from benchmarks.script import DOCS
from experiments.document import fill_tables

FRAMES = (1, 2, 4, 8, 16)
"""Imagined frames whose quality is shown."""


def all_tables(results: Path) -> dict[str, str]:
    """Name → Markdown."""
    return {
        "open loop": _open_loop(_read(results / "open_loop.json")),
        "gap": _gap(_read(results / "gap" / "gap.json")),
        "files": _files(results),
    }


def _open_loop(found: dict[str, Any]) -> str:
    lines = ["| PSNR in dB at imagined frame | " + " | ".join(map(str, FRAMES)) + " |"]
    lines.append("|---|" + "--:|" * len(FRAMES))
    for name, curve in found["psnr_db"].items():
        values = (f"{curve['mean'][frame - 1]:.1f}" for frame in FRAMES)
        lines.append(f"| {name} | {' | '.join(values)} |")
    clips = found["clips"]
    lines += ["", f"{clips['clips']} clips of {clips['episodes']} held-out episodes, "]
    lines[-1] += f"{clips['context']} frames watched; `{found['command']}`."
    return "\n".join(lines)


def _gap(found: dict[str, Any]) -> str:
    ranking = found["ranking"]
    lines = ["| dream against reality | mean | 95% interval |", "|---|--:|--:|"]
    for name in ("spearman", "pearson"):
        value = ranking[name]
        interval = f"{value['low']:.2f} … {value['high']:.2f}"
        lines.append(f"| {name.capitalize()} | {value['mean']:.2f} | {interval} |")
    told = f"{ranking['agents']} agents from the same {ranking['spawns']} places in both worlds."
    return "\n".join([*lines, "", told])


def _files(results: Path) -> str:
    lines = ["| file | made by |", "|---|---|"]
    for path in sorted(results.rglob("*.json")):
        found = _read(path)
        command = found.get("command", "") if isinstance(found, dict) else ""
        name = path.relative_to(results.parent).as_posix()
        made_by = f"`{shorten(command, 72, placeholder=' …')}`" if command else "see its page"
        lines.append(f"| [{path.stem}]({name}) | {made_by} |")
    return "\n".join(lines)


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    fill_tables(DOCS / "results.md", all_tables(DOCS / "results"))
    print(f"filled {os.path.relpath(DOCS / 'results.md')}")
