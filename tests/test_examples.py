"""The examples run, on a model small enough, and do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamenv.dream.env import DreamEnv
from dreamenv.dream.state import DreamState
from examples import plan_by_forks
from tests.dream.counting_dream import END, install


def test_planning_by_forks(debug_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--horizon 2 --episodes 2 --forks 4 --depth 2 --rounds 2".split()
    plan_by_forks.main([*arguments, "--checkpoint", str(debug_checkpoint)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["planned", "random"]
    assert all(re.search(r"mean return -?\d+\.\d\d of \[.*,.*\]", line) for line in lines)


def test_plans_find_what_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The action itself is paid, and the last one, which pays most, ends the episode.

    So it is best at the very end; before, the one that pays most of those that go on.
    """
    install(monkeypatch)
    env = DreamEnv(horizon=3)
    env.reset(seed=0)
    forks = env.fork(64)
    before, taken = env.get_state().elapsed, []
    for _ in range(3):
        taken.append(plan_by_forks.plan(env, forks, 3, 4, np.random.default_rng(0)))
        env.step(taken[-1])
    assert taken == [END - 1, END - 1, END] and before.tolist() == [0]


def test_the_code_of_the_environment_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[1] / "docs" / "environment.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    assert len(DreamState.load(tmp_path / "dream.safetensors")) == 1
    assert names["others"].num_envs == 4
