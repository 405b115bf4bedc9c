"""What a gap report writes: a page, numbers and a line."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from dreamenv.cli import main
from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.gap.page import gap_page
from dreamenv.evaluation.gap.report import GapReport
from dreamenv.evaluation.gap.transfer import Contender
from tests.evaluation.gap.ring_reports import LIE, MAIN, gap
from tests.evaluation.ring_env import (
    dream_of_the_ring,
)


def test_the_page_needs_no_other_file_and_the_line_is_one(
    ring: pytest.MonkeyPatch, spawns: Spawns, tmp_path: Path
) -> None:
    dream_of_the_ring(ring, spawns, pays=(0, LIE))
    report = gap(
        population=("walker:00", "walker:22", "random"),
        transfer=(Contender("dream <i>", MAIN),),
        real_horizon=12,
        real_episodes=2,
    )
    data, page = report.save(tmp_path / "new" / "gap", "dreamenv gap <x>")
    text = page.read_text()
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", text)
    assert links and all(link.startswith("data:image/") for link in links)
    assert not re.search(r"<(script|link|iframe|object)\b", text)
    assert "dream &lt;i&gt;" in text and "<i>" not in text and "gap &lt;x&gt;" in text
    for heading in ("Returns", "Ranking", "Transfer", "Open loop", "Exploitation"):
        assert f"<h2>{heading}" in text
    assert text.count("data:image/png") == 5, "the clips and four worst cases"
    assert json.loads(data.read_text())["command"] == "dreamenv gap <x>"
    assert "NaN" not in data.read_text()
    assert "\n" not in report.summary() and "Spearman" in report.summary()


def test_a_page_is_made_again_of_the_stored_report() -> None:
    """Its pictures are not stored with the numbers."""
    stored = Path(__file__).parents[3] / "docs" / "results" / "gap"
    result = json.loads((stored / "gap.json").read_text(encoding="utf-8"))
    blank = np.zeros((4, 4, 3), np.uint8)
    clips = dict.fromkeys(result["open_loop"], blank)
    page = gap_page(result, {}, clips, result["command"])

    def rows(text: str) -> list[str]:
        return [html.unescape(row) for row in re.findall(r"<tr>.*?</tr>", text, re.DOTALL)]

    assert rows(page) == rows((stored / "gap.html").read_text(encoding="utf-8"))
    assert GapReport(result).summary().endswith("spawns reached")


def test_the_command_writes_both_and_prints_one_line(
    ring_checkpoint: Path, ring_rollouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gap"
    kwargs = json.dumps({"checkpoint": str(ring_checkpoint)})
    command = ["gap", "--agents", "random", "--dream", "DreamEnv-v0", "--real", "Ring-v0"]
    command += ["--dream-kwargs", kwargs, "--rollouts", str(ring_rollouts), "--spawns", "4"]
    command += ["--population", "sticky:0.5", "forward:0.9", "--latest-start", "20"]
    command += ["--horizon", "10", "--clips", "4", "--clip-horizon", "6", "--out", str(out)]
    assert main(command) == 0
    line = capsys.readouterr().out.splitlines()
    assert len(line) == 1 and "random: dream 10.00" in line[0] and "4 of 4 spawns" in line[0]
    written = json.loads((out / "gap.json").read_text())
    assert set(written["open_loop"]) == {"random", "rollouts"}
    assert written["open_loop"]["rollouts"]["context"] == 32
    assert written["spawns"]["from"] == "rollouts" and written["spawns"]["latest_start"] == 20
    # The untrained model pays at every step, whatever happens.
    assert written["agents"][0]["return"]["dream"]["mean"] == 10
    assert written["dream"]["weights_sha256"] and (out / "gap.html").stat().st_size > 10_000
