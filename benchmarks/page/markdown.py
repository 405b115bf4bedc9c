"""How the performance page writes numbers and where they are from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.page.results import Quality, Result, Results
from dreamenv.core.machine import DTYPES
from experiments.markdown import MISSING

UNKNOWN = "not measured"


def made(file: Result, rows: Sequence[Result]) -> str:
    """The command, and the yardsticks of the rows."""

    def span(values: Sequence[float]) -> str:
        texts = number(min(values)), number(max(values))
        return texts[0] if texts[0] == texts[1] else " … ".join(texts)

    rates = ", ".join(
        f"{dtype} {span([row['matmul_gflops'][dtype] for row in rows])}" for dtype in DTYPES
    )
    copies = span([row["copied_gigabytes_per_second"] for row in rows])
    return f"`{file['command']}`; matmul {rates} GFLOP/s, copies {copies} GB/s."


def horizon(results: Results) -> int:
    """Frames of the open loop that quality was measured in."""
    return results["open_loop"].get("clips", {}).get("horizon", 16)


def qualities(found: Quality | None) -> list[str]:
    """PSNR of the first frame, the mean, and of the last frame."""
    if found is None:
        return [UNKNOWN] * 3
    return [f"{x:.2f}" for x in (found.curve[0], found.mean, found.curve[-1])]


def psnr(found: Quality | None) -> str:
    """Mean PSNR."""
    return UNKNOWN if found is None else f"{found.mean:.2f}"


def count_slots(count: int) -> str:
    """So many slots."""
    return f"{count} slot{'s' * (count > 1)}"


def number(value: Any) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def stated(value: Any) -> str:
    """As many digits as were stated."""
    return MISSING if value is None else str(value)


def milliseconds(seconds: float) -> str:
    """Without the unit."""
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def percent(share: float) -> str:
    """A share of 1."""
    return f"{share:.1%}"
