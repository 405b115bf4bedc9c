"""Families of environments: one from another distribution, and that nothing generic names one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dreamenv
from dreamenv.core.errors import MissingDependencyError
from dreamenv.real.plugin import default_checkpoint, default_dream, families, family_of

PACKAGE = Path(dreamenv.__file__).parent
PLUGIN = """
from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

FAMILY = Family(
    name="ponds",
    extra="ponds[simulator]",
    ids=(EnvironmentId("Pond-v0", "counting_env:CountingEnv", {"length": 7}, 7),),
    owns=lambda env_id: env_id.startswith("Pond-"),
    policies={"rower": Parametrized("ponds:Rower", "pace")},
    agents={"duck": "ponds:Duck"},
    actions=("rest", "row", "fish", "dive", "quack"),
    keys={(ord("q"),): 4},
)

class Rower:
    name = "rower"
    def __init__(self, pace=1.0):
        self.pace = pace
    def reset(self, env, seed):
        pass
    def act(self, observation):
        return int(self.pace)

class Duck:
    observation = "frame"
    def __init__(self, name, action_space, seed):
        self.name = name
    def act(self, observation, episode_start):
        return episode_start * 0
    def reset(self, seed=None):
        pass
"""
USE = """
import gymnasium, dreamenv, sys
from gymnasium.spaces import Discrete
from dreamenv.agents.loading import load_agent
from dreamenv.dream.keys import keys_to_action
assert gymnasium.spec("Pond-v0").max_episode_steps == 7
assert dreamenv.collect("Pond-v0", 20, "rower:3", 1, sys.argv[1], progress=False)
store = dreamenv.RolloutStore(sys.argv[1])
assert store.lengths.tolist()[:2] == [7, 7] and (store.read_steps(0)["action"] == 3).all()
assert load_agent("duck", Discrete(5), 0).name == "duck"
assert keys_to_action("Pond-v0", Discrete(5)) == {(ord("q"),): 4}
"""


def distribution(folder: Path, entry_point: str) -> dict[str, str]:
    """Install a distribution with an entry point into a folder; the environment that has it."""
    about = folder / "ponds-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ponds\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[dreamenv.families]\nponds = {entry_point}\n")
    (folder / "ponds.py").write_text(PLUGIN)
    paths = [folder, PACKAGE.parent, Path(__file__).parents[1] / "rollouts"]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}


def test_another_distribution_adds_a_family_without_touching_this_one(tmp_path: Path) -> None:
    environment = distribution(tmp_path, "ponds:FAMILY")
    script = tmp_path / "use.py"  # a file: workers import it again
    script.write_text("if __name__ == '__main__':\n" + re.sub("^", "    ", USE, flags=re.M))
    command = [sys.executable, script, tmp_path / "store"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("entry_point", "reason"),
    [("ponds:NOTHING", "has no attribute 'NOTHING'"), ("ponds:Duck", "not a Family")],
)
def test_a_family_that_cannot_be_loaded_breaks_nothing_else(
    tmp_path: Path, entry_point: str, reason: str
) -> None:
    environment = distribution(tmp_path, entry_point)
    code = "import dreamenv, gymnasium; gymnasium.spec('DreamEnv-v0')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "ponds brings no usable family" in done.stderr and reason in done.stderr


def test_what_a_family_lacks_is_named() -> None:
    (family,) = (each for each in families() if each.name == "memory_maze")
    with pytest.raises(MissingDependencyError, match=r"pip install 'dreamenv\[memory-maze\]'"):
        family.load("a_simulator_not_installed.x:Far")
    assert family_of("some.module:MemoryMaze-9x9-v0") is family
    assert family_of("CartPole-v1") is None


def test_everything_that_a_family_names_exists() -> None:
    for family in families():
        places = [policy.place for policy in family.policies.values()]
        places += [env.entry_point for env in family.ids] + [*family.agents.values()]
        for place in [*places, *filter(None, [family.cues])]:
            assert family.load(place) is not None
        for policy in family.policies.values():
            if policy.number:
                assert policy.number in family.load(policy.place).__init__.__code__.co_varnames
    assert any(default_dream() in family.dreams for family in families())
    assert default_checkpoint().startswith("bundled:")


def test_no_generic_module_names_a_family() -> None:
    own = {PACKAGE / "real" / family.name for family in families()}
    own.add(PACKAGE / "rollouts" / "importers")  # layouts are called as their data sets are
    naming = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if own.isdisjoint(path.parents)
        and re.search("MemoryMaze|memory_maze", path.read_text("utf-8"))
    ]
    assert naming == []
