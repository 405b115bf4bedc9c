"""A few of the fuzz's cases, and the stored counts of all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.fuzz.__main__ import COUNTS
from benchmarks.fuzz.cases import FINE, run_cases
from benchmarks.fuzz.subjects import SUBJECTS
from benchmarks.script import DOCS


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_damaged_is_refused_or_reads_as_if_whole(name: str, tmp_path: Path) -> None:
    fine = FINE if name.endswith("checksums") else FINE - {"changed"}
    cases = list(run_cases(name, range(2000, 2016), tmp_path))
    assert len(cases) == 16
    assert [case for case in cases if case["outcome"] not in fine] == []
    usual = "same" if name == "tokenized" else "refused"  # what is damaged is encoded again
    assert any(case["outcome"] == usual for case in cases)


def test_the_stored_counts_are_of_all_cases_and_without_a_fault() -> None:
    subjects = json.loads((DOCS / "results" / "fuzz.json").read_text("utf-8"))["subjects"]
    assert {name: subject["cases"] for name, subject in subjects.items()} == COUNTS
    for subject in subjects.values():
        assert subject["faults"] == []
        assert sum(subject["outcomes"].values()) == subject["cases"]
