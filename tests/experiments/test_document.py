"""Tables are put into their places in a page, and nothing else of it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamenv.core.errors import ConfigError
from experiments.document import fill, fill_tables

PAGE = """# Title
before
<!-- table: one -->
old
<!-- table is not a marker
<!-- end -->
between <!-- table: one --> in a line is text
<!-- table: two -->
<!-- end -->
after
"""
TABLES = {"one": "| a |\n|---|\n", "two": "| b |", "three": "| c |"}


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    expected = """# Title
before
<!-- table: one -->

| a |
|---|

<!-- end -->
between <!-- table: one --> in a line is text
<!-- table: two -->

| b |

<!-- end -->
after
"""
    assert fill(PAGE, TABLES) == expected
    assert fill(expected, TABLES) == expected, "filling again changes nothing"


def test_backslashes_in_a_table_stay() -> None:
    assert r"\1 \g<0>" in fill(PAGE, {**TABLES, "two": r"| \1 \g<0> |"})


def test_an_unknown_table_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="asks for the table 'two'; there are one, three"):
        fill(PAGE, {"one": "", "three": ""})


@pytest.mark.parametrize(
    "page",
    ["<!-- table: one -->\nno end\n", "<!-- table: one -->\n<!-- table: two -->\n<!-- end -->\n"],
)
def test_a_table_without_an_end_is_refused_rather_than_swallowing_the_page(page: str) -> None:
    with pytest.raises(ConfigError, match="'one' has no line '<!-- end -->'"):
        fill(page, TABLES)


def test_a_page_that_stays_the_same_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    fill_tables(path, TABLES)
    assert path.read_text() == fill(PAGE, TABLES)
    path.chmod(0o444)
    before = path.stat().st_mtime_ns
    fill_tables(path, TABLES)
    assert path.stat().st_mtime_ns == before
