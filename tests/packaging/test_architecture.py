"""The house: which room may know which, no circles, and no file too long to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dreamenv"
ROOMS = (
    "core",
    "real",
    "rollouts",
    "world_model",
    "dream",
    "training",
    "agents",
    "evaluation",
    "play",
    "cli",
)
"""From the ground floor up; a room knows those before it."""
FLOORS = {"world_model": ("network", "runtime")}
"""Rooms inside a room, from the ground up."""
MOST_LINES = 350
OUTSIDE = ("agents", "experiments", "benchmarks", "examples", "scripts", "tests")
"""What stands beside the package, and may know it."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache(maxsize=1)
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path, only_at_import: bool = False) -> Iterator[str]:
    """Modules of this package that a file imports, late imports inside functions too."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    if only_at_import:
        late = {
            inner
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            for inner in ast.walk(node)
        }
        nodes = [node for node in nodes if node not in late]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(module: str) -> str | None:
    first, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    return room if first == "dreamenv" and room in ROOMS else None


def test_every_module_is_in_a_room() -> None:
    front_door = {"dreamenv", "dreamenv.__main__"}
    assert {name for name in modules() if room_of(name) is None} == front_door


def test_no_room_knows_one_above_it() -> None:
    upward = [
        f"{name} imports {other}"
        for name, path in modules().items()
        if (room := room_of(name))
        for other in imports(path)
        if (there := room_of(other)) and ROOMS.index(there) > ROOMS.index(room)
    ]
    assert upward == []


@pytest.mark.parametrize("room", FLOORS)
def test_no_inner_room_knows_one_above_it(room: str) -> None:
    floors = FLOORS[room]

    def floor(module: str) -> int | None:
        parts = module.split(".")
        inside = parts[:2] == ["dreamenv", room] and len(parts) > 2 and parts[2] in floors
        return floors.index(parts[2]) if inside else None

    upward = [
        f"{name} imports {other}"
        for name, path in modules().items()
        if (here := floor(name)) is not None
        for other in imports(path)
        if (there := floor(other)) is not None and there > here
    ]
    assert upward == []


def test_modules_import_each_other_in_no_circle() -> None:
    known = {
        name: {
            other for other in imports(path, only_at_import=True)
            if other in modules() and other != name and "." in other
        }
        for name, path in modules().items() if "." in name
    }  # fmt: skip
    left = dict(known)
    while True:
        free = [name for name, others in left.items() if not others & left.keys()]
        if not free:
            break
        for name in free:
            del left[name]
    assert left == {}, "these, and what they import, go round"


def test_the_package_knows_nothing_of_what_stands_beside_it() -> None:
    door = "dreamenv.cli.compare"  # says so, where there is no checkout
    naming = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in imports(path)
        if other.partition(".")[0] in OUTSIDE and name != door
    ]
    assert naming == []


def test_no_file_is_too_long_to_read() -> None:
    folders = [PACKAGE, *(ROOT / name for name in OUTSIDE if name != "tests")]
    long = {
        path.relative_to(ROOT).as_posix(): count
        for folder in folders
        for kind in ("*.py", "*.c", "*.h")
        for path in folder.rglob(kind)
        if (count := len(path.read_text("utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}
