"""Mistakes in the commands are told before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamenv.cli import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["play", "--horizon", "0"], "horizon is from 1"),
        (["play", "--fps", "1000"], "fps is from"),
        (["play", "--sessions", "0"], "above 0"),
        (["play", "--host", "0.0.0.0"], "--token new"),
        (["play", "--token", "short"], "at least 16"),
        (["play", "--port", "99999999"], "choose another --port"),
        (["view"], "give a folder"),
        (["view", "nowhere", "--host", "0.0.0.0"], "--token new"),
        (["view", "nowhere"], "nothing to view"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("fastapi")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("error: ") and error.count("\n") == 1
