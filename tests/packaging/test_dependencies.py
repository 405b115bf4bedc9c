"""pyproject.toml, constraints.txt and the error messages agree about what to install."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
INSTALLED_EXTRAS = ("memory-maze", "agents", "hub", "play", "dev")
"""The extras that `make setup` installs, hence the ones that are pinned."""


def pins() -> dict[str, str]:
    """Canonical package name → version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return {canonicalize_name(name): version for name, version in pairs}


def direct_requirements() -> list[Requirement]:
    texts = [*PROJECT["dependencies"]]
    for extra in INSTALLED_EXTRAS:
        texts += EXTRAS[extra]
    return [Requirement(text) for text in texts]


def needed_packages() -> set[str]:
    """Canonical names of all that the direct requirements lead to, read from what is installed."""
    needed: set[str] = set()
    visited: set[tuple[str, str]] = set()
    pending = [(need.name, extra) for need in direct_requirements() for extra in ("", *need.extras)]
    while pending:
        name, extra = pending.pop()
        name = canonicalize_name(name)
        if (name, extra) in visited:
            continue
        visited.add((name, extra))
        needed.add(name)
        try:
            found = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed here; run make setup")
        for text in found:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                pending += [(need.name, wanted) for wanted in ("", *need.extras)]
    return needed


def test_extras_are_the_promised_ones() -> None:
    assert set(EXTRAS) == {
        "memory-maze",
        "agents",
        "hub",
        "ray",
        "play",
        "minari",
        "lerobot",
        "video",
        "lpips",
        "cuda",
        "minerl",
        "vizdoom",
        "miniworld",
        "minigrid",
        "crafter",
        "atari",
        "box2d",
        "docs",
        "dev",
    }


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda need: need.name)
def test_ranges_have_a_floor_and_admit_the_pinned_version(requirement: Requirement) -> None:
    pinned = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned), f"{requirement} does not admit {pinned}"
    assert any(part.operator == ">=" for part in requirement.specifier)


def test_every_needed_package_is_pinned_and_no_other() -> None:
    # On a GPU machine torch brings its CUDA libraries; their versions are torch's own business.
    needed = {name for name in needed_packages() if not re.match(r"nvidia-|cuda-|triton$", name)}
    assert needed - set(pins()) == set(), "needed but not pinned"
    assert set(pins()) - needed == set(), "pinned but not needed"


def test_set_up_installs_the_pinned_extras() -> None:
    assert f".[{','.join(INSTALLED_EXTRAS)}]" in (ROOT / "scripts/set_up.sh").read_text()


def test_every_extra_named_to_a_user_exists() -> None:
    sources = [*ROOT.glob("*.py"), *ROOT.glob("*.md")]
    for folder in ("dreamenv", "experiments", "docs", "scripts", "benchmarks"):
        sources += [path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md"}]
    named = {
        (path.relative_to(ROOT).as_posix(), extra.strip())
        for path in sources
        for extras in re.findall(r"dreamenv\[([\w, -]+)\]", path.read_text())
        for extra in extras.split(",")
    }
    assert {(path, extra) for path, extra in named if extra not in EXTRAS} == set()


def imported_distributions(*folders: str) -> set[str]:
    """Canonical names of the distributions that the Python files under `folders` import."""
    providers = metadata.packages_distributions()
    modules: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    modules -= set(sys.stdlib_module_names) | {"dreamenv", "experiments"}
    return {canonicalize_name(providers.get(module, [module])[0]) for module in modules}


def declared(texts: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in texts}


def test_everything_imported_is_declared() -> None:
    extras = [text for extra in EXTRAS if extra != "dev" for text in EXTRAS[extra]]
    allowed = declared(PROJECT["dependencies"]) | declared(extras) | {"gym-notices"}  # gym's own
    assert imported_distributions("dreamenv", "experiments") - allowed == set()


def test_every_base_dependency_is_imported() -> None:
    unused = declared(PROJECT["dependencies"]) - imported_distributions("dreamenv", "experiments")
    # TensorBoard is reached through torch.utils.tensorboard.
    assert unused - {"tensorboard"} == set()
