"""The examples run, on a model small enough, and do what they say."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamenv.dream.env import DreamEnv
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


def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell by cell in one process, as a kernel does; the last line of a cell may be a value."""
    path = Path(__file__).parents[1] / "examples" / "first_dream.ipynb"
    notebook = json.loads(path.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["nbformat"] == 4 and not any(cell["outputs"] for cell in code)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown: list[object] = []
    for cell in code:
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    sizes = [picture.size for picture in shown if isinstance(picture, Image.Image)]
    assert sizes == [(256, 256), (9 * 64, 64), (3 * 64, 64)]
    assert isinstance(names["earned"], float) and Path("ppo.safetensors").is_file()
