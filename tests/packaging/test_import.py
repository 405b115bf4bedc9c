"""`import dreamenv` is cheap and registers every environment id."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = ("7x7", "9x9", "11x11", "13x13", "15x15")
ENV_IDS = {"DreamEnv-v0", "DreamEnv-MemoryMaze-v0"}
ENV_IDS |= {f"MemoryMaze-{size}-v0" for size in SIZES}
ENV_IDS |= {f"MemoryMaze-{size}-ExtraObs-v0" for size in SIZES}

PROBE = """
import json, sys
import gymnasium
from tests.process_state import process_state
state = process_state()
for name in [name for name in sys.modules if name.partition(".")[0] == "dreamenv"]:
    del sys.modules[name]  # gymnasium may have imported it as a plugin
before = set(sys.modules)
import dreamenv
after = set(sys.modules)
print(json.dumps({
    "all": sorted({name.partition(".")[0] for name in after}),
    "new": sorted({name.partition(".")[0] for name in after - before}),
    "ids": sorted(gymnasium.registry),
    "changed": [name for name, value in process_state().items() if state.get(name) != value],
}))
"""


@pytest.fixture(scope="module")
def fresh_import() -> dict[str, list[str]]:
    """Top-level modules and environment ids after `import dreamenv` in a new interpreter."""
    completed = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    return json.loads(completed.stdout)


@pytest.mark.parametrize(
    "module",
    ["torch", "dm_control", "mujoco", "memory_maze", "gym", "zarr", "stable_baselines3"],
)
def test_import_leaves_the_heavy_packages_alone(
    fresh_import: dict[str, list[str]], module: str
) -> None:
    assert module not in fresh_import["all"]


def test_import_adds_only_the_standard_library_to_gymnasium(
    fresh_import: dict[str, list[str]],
) -> None:
    assert set(fresh_import["new"]) - set(sys.stdlib_module_names) == {"dreamenv"}


def test_the_entry_point_for_environments_registers_them() -> None:
    """Gymnasium 1 loads no entry points any more; other programs do, and "dreamenv:Id" works."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, value),) = project["entry-points"]["gymnasium.envs"].items()
    code = f"""
import gymnasium, sys
from importlib.metadata import EntryPoint
ids = EntryPoint({name!r}, {value!r}, "gymnasium.envs").load()()
assert set(ids) <= set(gymnasium.registry) and "torch" not in sys.modules
print(*gymnasium.registry)
"""
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert found.returncode == 0, found.stderr.decode()
    assert set(found.stdout.decode().split()) >= ENV_IDS
    named = "import gymnasium.envs.registration as r; print(r._find_spec('dreamenv:DreamEnv-v0'))"
    subprocess.run([sys.executable, "-c", named], check=True, capture_output=True)


def test_import_registers_every_id(fresh_import: dict[str, list[str]]) -> None:
    assert set(fresh_import["ids"]) >= ENV_IDS


def test_import_changes_nothing_in_the_process(fresh_import: dict[str, list[str]]) -> None:
    assert fresh_import["changed"] == []
