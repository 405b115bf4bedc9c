"""Tables of results as Markdown, for every page that quotes stored numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MISSING = "—"
"""What stands where nothing was measured."""


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    notes: Iterable[str] = (),
    texts: int = 1,
) -> str:
    """A Markdown table with notes below it.

    Args:
        header: names of the columns.
        rows: as many cells each; a bar inside a cell is escaped.
        notes: sentences, each of which is said once; empty ones are left out.
        texts: the first so many columns are texts, the others numbers, which stand to the right.
    """
    marks = ["---"] * texts + ["--:"] * (len(header) - texts)
    lines = [f"| {' | '.join(cells)} |" for cells in (header, marks)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    below = " ".join(dict.fromkeys(filter(None, notes)))
    return "\n".join(lines) + "\n" + (f"\n{below}\n" if below else "")
