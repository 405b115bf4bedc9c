"""The README's code runs as it is printed, from top to bottom, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.timeout(600)
def test_python_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3, "make the env, train PPO, measure the gap"
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "ppo.zip").is_file()
    assert names["agent"].ep_info_buffer, "training shows ep_rew_mean"  # type: ignore[attr-defined]
    (agent,) = names["report"].result["agents"]  # type: ignore[attr-defined]
    assert agent["in_full"] and (tmp_path / "gap" / "gap.html").is_file()


def test_pictures_and_paths_exist() -> None:
    text = README.read_text()
    for path in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (README.parent / path).exists(), path
    for path in re.findall(r"`((?:dreamenv|agents|docs|benchmarks)/[\w/.]*|\w+\.py)`", text):
        assert (README.parent / path).exists(), path
