"""The wheel holds `dreamenv` alone, all of it, and works from outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dreamenv.dream.registration import BUNDLED

ROOT = Path(__file__).parents[2]
CHECKPOINTS = Path("dreamenv/checkpoints")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy: a build leaves folders that the next one picks up."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    # Folders that must stay out of the wheel are there to be picked up by mistake.
    for name in ("dreamenv", "agents", "experiments", "tests/packaging"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "-w", out, source], check=True)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel unpacked into it, as an installer would."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def start_outside(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where only the unpacked wheel can provide `dreamenv`."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True
    )


def run_outside(site: Path, *arguments: str) -> str:
    """What Python prints where only the unpacked wheel can provide `dreamenv`."""
    completed = start_outside(site, *arguments)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def names_in(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}


def test_wheel_holds_only_dreamenv_and_its_metadata(wheel: Path) -> None:
    folders = {name.partition("/")[0] for name in names_in(wheel)}
    (metadata,) = folders - {"dreamenv"}
    assert metadata.startswith("dreamenv-") and metadata.endswith(".dist-info")
    assert "LICENSE" in {Path(name).name for name in names_in(wheel) if metadata in name}


def test_wheel_holds_every_module(wheel: Path) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dreamenv").rglob("*.py")}
    assert modules - names_in(wheel) == set()


def test_wheel_holds_the_template_of_the_gap_report(wheel: Path) -> None:
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dreamenv").rglob("*.jinja")}
    assert templates and templates - names_in(wheel) == set()


@pytest.mark.parametrize(
    "name", sorted(a["checkpoint"].removeprefix("bundled:") for a in BUNDLED.values())
)
def test_wheel_holds_the_bundled_checkpoints_without_their_training_state(
    wheel: Path, name: str
) -> None:
    folder = CHECKPOINTS / name
    packed = {Path(entry) for entry in names_in(wheel) if folder in Path(entry).parents}
    stored = {
        path.relative_to(ROOT)
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "training" not in path.parts
    }
    assert packed == stored
    required = {"config.json", "model.safetensors", "card.md"}
    assert required <= {path.name for path in packed}
    assert any(path.name.startswith("spawns.") for path in packed)


def test_wheel_imports_from_outside_the_checkout(site: Path) -> None:
    where = run_outside(site, "-c", "import dreamenv; print(dreamenv.__file__)").strip()
    assert Path(where).is_relative_to(site)


def test_command_line_works_from_outside_the_checkout(site: Path) -> None:
    assert "collect" in run_outside(site, "-m", "dreamenv")


def test_the_comparison_says_that_it_needs_a_checkout(site: Path) -> None:
    completed = start_outside(site, "-m", "dreamenv", "compare", "--suite", "debug", "--list")
    assert completed.returncode == 2 and "Traceback" not in completed.stderr
    assert "run this from a checkout of the repository" in completed.stderr


@pytest.mark.parametrize("env_id", sorted(BUNDLED))
def test_bundled_dream_runs_from_outside_the_checkout(site: Path, env_id: str) -> None:
    code = (
        "import gymnasium, dreamenv\n"
        f"env = gymnasium.make({env_id!r})\n"
        "env.reset(seed=0)\n"
        "env.step(env.action_space.sample())\n"
        "print(dreamenv.__file__)\n"
    )
    assert Path(run_outside(site, "-c", code).strip()).is_relative_to(site)
