"""The code of README and pages runs as it is printed, from top to bottom, in an empty folder."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from PIL import Image

from benchmarks.results_page import all_tables
from dreamenv.cli import VERBS, module_of
from dreamenv.cli.options import parse
from dreamenv.dream.state import DreamState
from experiments.document import fill

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
WITH_CODE = [page for page in PAGES if "```python\n" in page.read_text("utf-8")]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
@pytest.mark.timeout(900)
def test_python_blocks_run_in_order(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    debug_checkpoint: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    if page.stem == "hub":
        request.getfixturevalue("hub")
        shutil.copytree(debug_checkpoint, "runs/maze")
    names: dict[str, Any] = {"__name__": "__main__"}
    for kind, title, code in BLOCK.findall(page.read_text("utf-8")):
        if title:
            Path(title).write_text(code, "utf-8")
        elif kind == "python":
            exec(compile(code, name_of(page), "exec"), names)
    left_behind(page.stem, names)


def left_behind(page: str, names: dict[str, Any]) -> None:
    """What the code of some pages must have made."""
    if page == "index":
        assert Image.open("dream.gif").n_frames > 20
    elif page == "README":
        assert Path("ppo.safetensors").is_file() and names["futures"].num_envs == 4
    elif page == "environment":
        assert len(DreamState.load("dream.safetensors")) == 1
        assert names["others"].num_envs == 4
    elif page == "measure_the_gap":
        assert len(json.loads(Path("gap/gap.json").read_text("utf-8"))["agents"]) == 2
    elif page == "own_environment":
        assert names["env"].observation_space.shape == (64, 64, 3)


def commands(page: Path) -> list[list[str]]:
    """Every `dreamenv` command in a page's shell blocks and code, as arguments."""
    text = page.read_text("utf-8")
    lines = [line for kind, _, code in BLOCK.findall(text) if kind == "sh" for line in
             code.replace("\\\n", " ").splitlines()]  # fmt: skip
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("dreamenv ")]
    return [words[1:] for words in found]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_have_the_options_that_they_are_given(page: Path) -> None:
    for verb, *arguments in commands(page):
        assert verb in VERBS, verb
        try:
            module = import_module(module_of(verb))
            parse(module.Options, verb, arguments, "")
        except SystemExit as error:
            pytest.fail(f"{name_of(page)}: dreamenv {verb} {shlex.join(arguments)}: {error}")


def test_every_page_has_its_place_in_the_site() -> None:
    listed = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    there = {page.relative_to(DOCS).as_posix() for page in PAGES[1:] if "results" not in page.parts}
    assert there - listed == set()


def test_the_results_page_is_what_the_stored_files_say() -> None:
    page = (DOCS / "results.md").read_text("utf-8")
    tables = all_tables(DOCS / "results")
    listed = page.partition("<!-- table: files -->")[2].partition("<!-- end -->")[0]
    rows = set(listed.strip().splitlines())
    assert rows <= set(tables["files"].splitlines()), "run: python -m benchmarks.results_page"
    assert fill(page, tables | {"files": listed}) == page, "run: python -m benchmarks.results_page"


def test_the_pictures_are_what_their_script_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    sys.modules.pop("draw_pictures", None)
    script = import_module("draw_pictures")
    monkeypatch.setattr(script, "PICTURES", tmp_path)
    script.main()
    drawn = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert len(drawn) == 4
    for name, text in drawn.items():
        assert (DOCS / "pictures" / name).read_text("utf-8") == text, name
