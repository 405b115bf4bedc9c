"""`dreamenv life`: is a checkpoint's dream worth living in? docs/life.md explains the measures."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from dreamenv.cli import INTERRUPTED
from dreamenv.cli.options import command_line
from dreamenv.core.errors import DreamEnvError
from dreamenv.core.files import remove_unfinished, require_writable
from dreamenv.evaluation.life.config import LifeConfig


@dataclass(frozen=True)
class Options:
    """What to measure, and where to write it."""

    config: Annotated[LifeConfig, arg(name="")]
    out: Path
    """Folder for life.json, life.png and what was measured; a killed one goes on from there."""


def run(options: Options) -> int:
    """Measure, write the JSON and the picture, print a table."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from dreamenv.core.tables import aligned
    from dreamenv.evaluation.life.measure import measure_life

    require_writable(options.out)  # now, not after hours of measuring
    remove_unfinished(options.out)
    parts = options.out / "parts"
    try:
        report = measure_life(options.config, parts)
        data, picture = report.save(options.out, command_line())
    except OSError as error:
        raise DreamEnvError(
            f"life stopped: {error}. What was measured so far is kept in {parts}: make room or "
            "give write permission, then run the same command again to continue"
        ) from error
    except KeyboardInterrupt:
        print(
            f"stopped; what was measured so far is kept in {parts}, and the same command goes on "
            f"from there: {command_line()}",
            file=sys.stderr,
        )
        return INTERRUPTED
    for line in aligned(report.rows()):
        print(line)
    print(f"written: {data} and {picture}")
    return 0
