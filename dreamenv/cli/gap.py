"""`dreamenv gap`: how far to trust what agents do in a dream; docs/gap.md is the protocol."""

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
from dreamenv.evaluation.gap.config import GapConfig


@dataclass(frozen=True)
class Options:
    """What to measure, and where to write it."""

    config: Annotated[GapConfig, arg(name="")]
    out: Path
    """Folder for gap.json, gap.html and what was played; a killed report goes on from there."""


def run(options: Options) -> int:
    """Measure, write the JSON and the page, print one line."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from dreamenv.evaluation.gap.measure import measure_gap

    require_writable(options.out)  # now, not after hours of measuring
    remove_unfinished(options.out)
    played = options.out / "episodes"
    try:
        report = measure_gap(options.config, played)
        data, page = report.save(options.out, command_line())
    except OSError as error:
        raise DreamEnvError(
            f"gap stopped: {error}. What was played so far is kept in {played}: "
            "make room or give write permission, then run the same command again to continue"
        ) from error
    except KeyboardInterrupt:
        print(
            f"stopped; what was played so far is kept in {played}, and the same "
            f"command goes on from there: {command_line()}",
            file=sys.stderr,
        )
        return INTERRUPTED
    print(f"{report.summary()} → {page} and {data}")
    return 0
