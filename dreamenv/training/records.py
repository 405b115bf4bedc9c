"""The records of a run's stages: metrics, charts and the history, which a resumed run goes on."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from dreamenv.core.event_files import forget_events_after
from dreamenv.core.json_lines import append_json_line, keep_json_lines


class Records:
    """The records of one stage of a run: `metrics.jsonl`, `tensorboard/` and `history.jsonl`.

    Args:
        folder: of the run.
        stage: its name, in front of that of every metric.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.stage = folder, stage
        self._metrics, self._tensorboard = folder / "metrics.jsonl", folder / "tensorboard"

    def forget_after(self, step: int) -> None:
        """Take out what a killed run did after the state of update `step`, which is resumed."""

        def stays(record: dict[str, Any]) -> bool:
            return record.get("stage") != self.stage or record.get("step", 0) <= step

        keep_json_lines(self._metrics, stays)
        forget_events_after(self._tensorboard, step, f"{self.stage}/")

    def note_history(self, step: int, told: dict[str, Any]) -> None:
        """Append how this stretch of the run is made: a run may be resumed with other settings.

        Args:
            step: the update that it begins with.
            told: the run's configuration.
        """
        record = {
            "stage": self.stage,
            "from_step": step,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
            "commit": _commit(),
            "config": told,
        }
        append_json_line(self.folder / "history.jsonl", record)

    def open_charts(self) -> SummaryWriter:
        """The writer of this stage's charts, which is to be closed."""
        return SummaryWriter(str(self._tensorboard))

    def write(
        self, charts: SummaryWriter, kind: str, step: int, seconds: float, values: dict[str, float]
    ) -> None:
        """Write the metrics of an update, of a kind such as "train" or "held_out"."""
        for key, value in values.items():
            charts.add_scalar(f"{self.stage}/{kind}/{key}", value, step)
        record = {"stage": self.stage, "kind": kind, "step": step, "seconds": seconds}
        rounded = {key: float(f"{value:.5g}") for key, value in values.items()}
        append_json_line(self._metrics, {**record, **rounded})


def _commit() -> str:
    """The commit of the code that runs, or "unknown" outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
