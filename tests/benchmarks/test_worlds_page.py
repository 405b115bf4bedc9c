"""The page of worlds quotes what is stored, and its tables are made of any row."""

from __future__ import annotations

from typing import Any

from benchmarks.script import DOCS
from benchmarks.worlds import WORLDS
from benchmarks.worlds_page import stored, tables
from dreamenv.real.plugin import family_of
from experiments.document import fill


def row(**changes: Any) -> dict[str, Any]:
    """A world that ends and pays nothing."""
    scores = {"events": 3, "precision": None, "recall": 0.0}
    curve, again = {"mean": [20.0] * 16}, {"mean": [25.0] * 16}
    found = {
        "title": "Pond",
        "env": "Pond-v0",
        "command": "python -m benchmarks.worlds pond",
        "policies": {"sticky": 1.0},
        "rollouts": {
            "frames": 2000, "episodes": 10, "median_length": 200.0, "reward_events": 4,
            "terminated": 5,
        },
        "minutes": {
            "collecting": 1.0, "collecting_processor": 0.5, "training": 2.0,
            "training_processor": 1.5,
        },
        "training": {"preset": "tiny", "tokenizer": {"steps": 10}, "dynamics": {"steps": 20}},
        "tokenizer": {"psnr_db": 37.8, "moving_psnr": 12.0, "moving_lost": 0.9},
        "open_loop": {
            "psnr_db": {"repeat last frame": again, "model, K=2": curve},
            "reward_events": {"real_frames": scores, "open_loop_clips": {"model, K=2": scores}},
        },
        "ends": {"seen": scores, "dreamt": scores},
        "life": [{"steps": [129, 256], "sharpness": {"mean": 0.5}, "motion": {"mean": None}}],
    }  # fmt: skip
    return found | changes


def test_the_page_is_what_is_stored() -> None:
    page = (DOCS / "worlds.md").read_text("utf-8")
    assert fill(page, tables(stored())) == page


def test_a_row_tells_what_moves_apart_from_the_whole_and_what_was_not_measured() -> None:
    made = tables({"pong": row(), "crafter": row(ends={"missing": "nothing terminates"})})
    assert (
        "| 37.8 | 12.0 | 90% | 20.0 | 20.0 | 20.0 | 25.0 |" in made["frames"]
        and "| 0.50 | — | 129–256 |" in made["frames"]
    )
    assert "| 3 | — | 0% |" in made["events"] and "| — | — | — |" in made["events"]
    assert "| 2.0 | 50% |" in made["runs"], "events per 1,000 steps, and episodes that terminated"
    assert "Not run yet: " in made["how"] and "`pong`" not in made["how"].splitlines()[-1]


def test_a_page_without_rows_says_so_and_what_there_is_to_run() -> None:
    made = tables({})
    assert "No world has been run" in made["frames"] and "`car-racing`" in made["how"]


def test_every_world_is_one_of_a_family() -> None:
    for name, world in WORLDS.items():
        assert family_of(world.env) is not None, name
