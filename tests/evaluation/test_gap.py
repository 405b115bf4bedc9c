"""The gap command from end to end on the ring, and a clear line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Discrete
from PIL import Image

from dreamenv.__main__ import main
from dreamenv.errors import CheckpointError, ConfigError, DreamEnvError
from dreamenv.evaluation.gap import GapReport, measure_gap
from dreamenv.evaluation.report import gap_table, to_json, write_reports

EPISODES, HORIZON = 3, 60


def gap(checkpoint: Path, agent: str = "random", **changes: Any) -> GapReport:
    arguments: dict[str, Any] = {
        "dream_id": "DreamEnv-v0",
        "real_id": "Ring-v0",
        "episodes": EPISODES,
        "horizon": HORIZON,
        "clips": 7,
        "dream_kwargs": {"checkpoint": str(checkpoint)},
        "progress": False,
    }
    return measure_gap(agent, **{**arguments, **changes})


@pytest.fixture(scope="module")
def report(ring_checkpoint: Path) -> GapReport:
    return gap(ring_checkpoint)


def test_both_sides_are_played_for_the_same_steps(report: GapReport) -> None:
    assert len(report.dream_returns) == len(report.real_returns) == EPISODES
    # The untrained model believes in a reward at every step, so its dream pays at every step.
    assert report.dream_returns == [HORIZON] * EPISODES
    assert 0 < np.mean(report.real_returns) < HORIZON / 4
    assert report.difference.mean == np.mean(report.dream_returns) - np.mean(report.real_returns)
    assert (report.model_of, report.agent) == ("Ring-v0", "random")


def test_events_are_counted_on_all_real_steps(report: GapReport) -> None:
    scores = report.real_frames
    assert scores.frames == EPISODES * HORIZON
    assert scores.events == sum(report.real_returns)
    assert scores.predicted == scores.frames and scores.recall == 1.0
    assert scores.precision == pytest.approx(scores.events / scores.frames)
    assert report.clip_events is not None and report.clip_events.frames == 7 * 16


def test_clips_are_the_agents_own_behaviour(report: GapReport) -> None:
    assert report.clips is not None and report.open_loop is not None
    assert report.clips.frames.shape == (7, 48, 16, 16, 3)
    assert sorted(report.clips.episodes) == [0, 0, 0, 1, 1, 2, 2]
    assert set(np.unique(report.clips.actions[:, 1:])) == {0, 1, 2}
    assert report.open_loop.psnr["dream"].shape == (7, 16)


def test_the_seed_decides_everything(ring_checkpoint: Path, report: GapReport) -> None:
    assert to_json(gap(ring_checkpoint)) == to_json(report)
    assert gap(ring_checkpoint, seed=1).real_returns != report.real_returns


def test_table_has_a_column_for_each_agent(ring_checkpoint: Path, report: GapReport) -> None:
    table = gap_table([report, gap(ring_checkpoint, "sticky:0.5")])
    header = next(line for line in table.splitlines() if "random" in line)
    assert header.split() == ["random", "sticky:0.5"]
    for words in ("in the dream", "in the real environment", "PSNR", "SSIM", "repeat last frame",
                  "mean frame", "precision", "recall", "imagined step 1/2/4/8/16"):  # fmt: skip
        assert words in table
    assert max(map(len, table.splitlines())) < 120
    twins = gap_table([report, report])
    assert "random (1)" in twins and "random (2)" in twins


def test_no_event_is_said_and_no_number_is_made_up(ring_checkpoint: Path, tmp_path: Path) -> None:
    # An agent that repeats its first action for ever, seeded so that this is to stay.
    idle_seed = next(seed for seed in range(99) if Discrete(3, seed=seed).sample() == 0)
    idle = gap(ring_checkpoint, "sticky:1", episodes=1, seed=idle_seed)
    assert idle.clips is not None and (idle.clips.actions[:, 1:] == 0).all()
    table = gap_table([idle])
    assert f"no event in {HORIZON} steps" in table
    assert "one episode: no interval" in table
    written = json.loads(write_reports([idle], tmp_path)[0].read_text())
    events = written["agents"][0]["reward_events"]["real_frames"]
    assert (events["events"], events["average_precision"], events["recall"]) == (0, None, None)
    assert written["agents"][0]["return"]["real"] == {"mean": 0.0, "low": None, "high": None}


def test_episodes_too_short_for_clips_are_said(ring_checkpoint: Path, tmp_path: Path) -> None:
    short = gap(ring_checkpoint, real_kwargs={"length": 10})
    assert short.open_loop is None and short.clip_events is None
    assert "no real episode was long enough" in gap_table([short])
    written = json.loads(write_reports([short], tmp_path)[0].read_text())
    assert written["agents"][0]["open_loop"] is None


def test_command_writes_table_json_and_picture(
    ring_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kwargs = json.dumps({"checkpoint": str(ring_checkpoint)})
    out = tmp_path / "new" / "gap"
    command = ["gap", "--agent", "random", "sticky", "--dream", "DreamEnv-v0", "--real", "Ring-v0"]
    command += ["--dream-kwargs", kwargs, "--episodes", "2", "--horizon", "50", "--clips", "4"]
    assert main([*command, "--out", str(out)]) == 0
    assert "in the real environment" in capsys.readouterr().out
    text = (out / "gap.json").read_text()
    assert "NaN" not in text
    agents = json.loads(text)["agents"]
    assert [agent["agent"] for agent in agents] == ["random", "sticky"]
    assert len(agents[0]["open_loop"]["psnr_db"]["dream"]["mean"]) == 16
    with Image.open(out / "gap.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real_id": "Rign-v0"}, "unknown environment id 'Rign-v0'; did you mean .*Ring-v0"),
        ({"dream_id": "DreamEnv-MemoryMaz-v0"}, "did you mean DreamEnv-MemoryMaze-v0"),
        ({"real_id": "no_such_module:Ring-v0"}, "cannot import 'no_such_module'"),
        ({"dream_id": "Ring-v0"}, "Ring-v0 is not a dreamt environment"),
        ({"real_kwargs": {"actions": 5}}, r"Discrete\(5\).*the dream from\s+Discrete\(3\)"),
        ({"real_kwargs": {"colour": "red"}}, "does not take the arguments"),
        ({"dream_kwargs": {"depth": 3}}, "does not take the arguments"),
        ({"dream_kwargs": {"horizon": 9}}, "leave 'horizon' out"),
        ({"real_id": "ShortRing-v0"}, "ends its episodes after 20 steps.*at most 20"),
        ({"horizon": 40}, "choose a horizon of at least 47"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"clips": 0}, "clips must be at least 1"),
        ({"workers": 0}, "at least 1 worker"),
    ],
)
def test_mistakes_are_explained(
    ring_checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        gap(ring_checkpoint, **changes)


def test_missing_agent_and_missing_checkpoint(ring_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no agent at"):
        gap(ring_checkpoint, "runs/absent.zip")
    with pytest.raises(CheckpointError, match="holds no world model"):
        gap(tmp_path / "absent")


def test_a_killed_process_of_the_real_environment(ring_checkpoint: Path) -> None:
    with pytest.raises(DreamEnvError, match="process of the real environment died"):
        gap(ring_checkpoint, workers=2, real_kwargs={"dies_at": 3})


def test_the_command_line_reports_mistakes_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["gap", "--agent", "random", "--real", "Ring-v0", "--out", str(tmp_path / "out")]
    assert main([*command, "--dream-kwargs", "{checkpoint: x}"]) == 2
    assert main([*command, "--dream-kwargs", "[1]"]) == 2
    (tmp_path / "out").write_text("")
    assert main(command) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in errors] == ["error"] * 3
    assert "is no JSON" in errors[0] and "JSON object" in errors[1] and "is a file" in errors[2]
