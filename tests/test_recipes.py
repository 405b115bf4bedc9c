"""Every recipe in `agents/` trains, and is a command whose options are its configuration."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from dreamenv.agents.config import AgentConfig

AGENTS = Path(__file__).parents[1] / "agents"
RECIPES = sorted(AGENTS.glob("*.py"), key=lambda path: path.name)
ALL = pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])


@ALL
def test_a_recipe_trains(
    path: Path, tmp_path: Path, debug_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: AgentConfig = runpy.run_path(str(path))["RECIPE"]
    world = []
    if recipe.env.startswith("DreamEnv"):
        smaller = recipe.env_kwargs | {"checkpoint": str(debug_checkpoint)}
        world = ["--env-kwargs", json.dumps(smaller)]
    few = ["n_steps=2", "batch_size=2", "n_epochs=1"]
    options = ["--out", str(tmp_path / "run"), *world, "--hyperparameters", *few]
    options += ["--steps", "2", "--num-envs", "1", "--no-progress"]
    monkeypatch.setattr(sys, "argv", [str(path), *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert (tmp_path / "run" / "agent.safetensors").is_file()
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (stored["env"], stored["algo"]) == (recipe.env, recipe.algo)
    assert stored["keep_every"] == recipe.keep_every, "what no option names is the recipe's"


def test_a_recipes_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", "--algo", "sac"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(RECIPES[0]), run_name="__main__")
    assert ended.value.code == 2
    assert "unknown algorithm 'sac'" in capsys.readouterr().err
