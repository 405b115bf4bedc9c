"""The pages on scale and reliability show what is stored; the simulations behave."""

from __future__ import annotations

import json

from benchmarks.reliability import tables
from benchmarks.scale_page import serving, training
from benchmarks.scale_simulation import OVERHEAD, simulate_serving, simulate_training
from benchmarks.script import DOCS


def test_the_page_shows_the_stored_plan() -> None:
    result = json.loads((DOCS / "results" / "scale_plan.json").read_text("utf-8"))
    page = (DOCS / "scale.md").read_text("utf-8")
    assert training(result).strip() in page and serving(result).strip() in page


def test_a_server_that_is_asked_for_more_answers_later() -> None:
    few, many = (simulate_serving(slots, 10, 1e-4) for slots in (10, 800))
    assert 1000 * OVERHEAD <= few["median_ms"] < many["median_ms"] <= many["p99_ms"]
    assert few["frames_per_step"] < many["frames_per_step"]


def test_more_failures_leave_less_of_a_month() -> None:
    found = simulate_training(0.1, 0.0, 1.0, 8)
    assert 0 < found["machine that may be taken away"] < found["own machine"] < 1
    slow = simulate_training(0.1, 0.1, 1.0, 8)
    assert slow["own machine"] < 0.6 < found["own machine"]


def test_the_page_of_reliability_shows_the_stored_results() -> None:
    page = (DOCS / "reliability.md").read_text("utf-8")
    for name, table in tables().items():
        assert table.strip() in page, name
