"""Every recipe in `agents/` trains, and is a command whose options are its configuration."""

from __future__ import annotations

import dataclasses
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from dreamenv.agents.config import AgentConfig
from dreamenv.dream.spawns import load_spawns, write_spawns

AGENTS = Path(__file__).parents[1] / "agents"
RECIPES = sorted(AGENTS.glob("*.py"), key=lambda path: path.name)
ALL = pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])


@pytest.fixture(scope="module")
def near_rewards(tmp_path_factory: pytest.TempPathFactory, debug_checkpoint: Path) -> Path:
    """The untrained model, as if half of its episodes began shortly before a reward."""
    folder = tmp_path_factory.mktemp("near") / "checkpoint"
    shutil.copytree(debug_checkpoint, folder)
    spawns = load_spawns(folder)
    told = [{**s, "near_reward": 5 if i % 2 else None} for i, s in enumerate(spawns.sources)]
    write_spawns(folder, dataclasses.replace(spawns, sources=told))
    return folder


@ALL
def test_a_recipe_trains(
    path: Path, tmp_path: Path, near_rewards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: AgentConfig = runpy.run_path(str(path))["RECIPE"]
    world = []
    if recipe.env.startswith("DreamEnv"):
        smaller = recipe.env_kwargs | {"checkpoint": str(near_rewards)}
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
