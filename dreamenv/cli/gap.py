"""`dreamenv gap`: how far to trust what agents do in a dream; docs/gap.md is the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from dreamenv.cli.options import command_line
from dreamenv.core.errors import ConfigError
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
    from dreamenv.evaluation.gap.report import one_line, write_report

    if options.out.exists() and not options.out.is_dir():
        raise ConfigError(f"--out {options.out} is a file; give a folder")
    report = measure_gap(options.config, options.out / "plays")
    data, page = write_report(report, options.out, command_line())
    print(f"{one_line(report.result)} → {page} and {data}")
    return 0
