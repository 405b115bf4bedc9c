"""`dreamenv doctor` says what runs, what does not, and what to install."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest

from dreamenv.cli import doctor, main


def test_it_names_versions_runtime_and_renderer(
    debug_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--checkpoint", str(debug_checkpoint)]) == 0
    out = capsys.readouterr().out
    assert f"gymnasium {gymnasium.__version__}" in out
    assert "torch threads" in out and "compiled C: no compiler, switched off" in out
    assert f"{debug_checkpoint} dreams on cpu in" in out and "by torch, in place" in out
    assert "memory_maze: MemoryMaze-7x7-v0 draws frames of (64, 64, 3) (egl)" in out


def test_what_is_missing_is_told_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"agents": ("a_package_not_installed",)})
    monkeypatch.setenv("CC", "no-such-compiler")
    assert main(["doctor", "--checkpoint", str(tmp_path), "--no-render"]) == 1
    out = capsys.readouterr().out
    assert 'a_package_not_installed is missing; pip install "dreamenv[agents]"' in out
    assert "CC='no-such-compiler'" in out
    assert f"FAIL{tmp_path}" in out and "holds no world model" in out
