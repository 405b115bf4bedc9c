"""What version 0.1 documented can still be imported, and says what it is called now."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import dreamenv
from dreamenv.core.deprecation import MovedModules, renamed_arguments


@pytest.fixture
def forget() -> Iterator[None]:
    """Modules of old names are imported anew, as in a new process."""
    known = [sys.modules.pop(name, None) for name in dreamenv._MOVED]
    yield
    for name, module in zip(dreamenv._MOVED, known, strict=True):
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.mark.parametrize(("old", "new"), dreamenv._MOVED.items())
def test_a_module_of_version_0_1_is_its_successor(old: str, new: str, forget: None) -> None:
    with pytest.warns(DeprecationWarning, match=f"'{old}' is called '{new}' now") as told:
        module = importlib.import_module(old)
    assert len(told) == 1
    successor = importlib.import_module(new)
    for name in (name for name in vars(successor) if not name.startswith("_")):
        assert getattr(module, name) is getattr(successor, name)
    with pytest.raises(AttributeError):
        _ = module.nonsense
    with pytest.raises(ImportError):
        exec(f"from {old} import nonsense", {})


def test_the_readme_of_version_0_1_still_imports_what_it_did() -> None:
    """Lines as they stood there; the warning names the line that is to be changed."""
    lines = (
        "from dreamenv.errors import DreamEnvError\n"
        "from dreamenv.evaluation.gap import measure_gap, GapReport\n"
        "from dreamenv.evaluation.gap_config import GapConfig\n"
        "from dreamenv.evaluation.report import one_line, write_report\n"
        "import dreamenv\n"
        "assert GapConfig is dreamenv.GapConfig and measure_gap is dreamenv.measure_gap\n"
        "report = GapReport({'agents': [], 'ranking': None, 'transfer': None,\n"
        "                    'spawns': {'reached': 1, 'drawn': 2}})\n"
        "assert one_line(report.result) == report.summary() == '1 of 2 spawns reached'\n"
        "assert write_report is GapReport.save\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning:__main__", "-"],
        input=lines,
        capture_output=True,
        encoding="utf-8",
    )
    assert found.returncode == 0, found.stderr
    told = [line for line in found.stderr.splitlines() if "DeprecationWarning" in line]
    assert [line.split(":")[1] for line in told] == ["1", "3", "4"], found.stderr


def test_modules_that_are_nowhere_are_still_told() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dreamenv.no_such_module")
    finder = MovedModules(dreamenv._MOVED)
    before = list(sys.meta_path)
    finder.install()
    assert sys.meta_path == before, "importing the package again adds nothing"


def test_an_argument_may_be_called_by_one_of_its_names_only() -> None:
    @renamed_arguments(old="new")
    def doubled(new: int) -> int:
        return 2 * new

    with pytest.warns(DeprecationWarning, match="'old' is called 'new' now"):
        assert doubled(old=2) == 4  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="given twice"):
        doubled(old=1, new=2)  # type: ignore[call-arg]
