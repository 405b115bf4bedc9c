"""Every benchmark is run as a module of the checkout, and says what it does and where it writes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(
    ".".join(path.relative_to(BENCHMARKS).with_suffix("").parts)
    for path in BENCHMARKS.rglob("*.py")
    if "def main(" in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_begins_with_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        module.main()
    shown = capsys.readouterr().out
    assert f"python -m benchmarks.{name.removesuffix('.__main__')}" in shown
    assert "docs/results" in shown or "--results" in shown
