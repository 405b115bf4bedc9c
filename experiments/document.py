"""Generated tables inside a Markdown page that people write."""

from __future__ import annotations

import re
from pathlib import Path

from dreamenv.core.errors import ConfigError
from dreamenv.core.files import atomic_write_text

_BEGIN = re.compile(r"^<!-- table: (.*?) -->[ \t]*$", re.MULTILINE)
_END = re.compile(r"^<!-- end -->[ \t]*$", re.MULTILINE)


def fill_tables(path: Path, tables: dict[str, str]) -> None:
    """Put each table between `<!-- table: NAME -->` and `<!-- end -->`, in place of what is there.

    Args:
        path: of the page; left alone if nothing changes.
        tables: Markdown by name; not all of them need a place in the page.

    Raises:
        ConfigError: the page asks for a table that there is not, or does not say where one ends.
    """
    page = path.read_text("utf-8")
    filled = fill(page, tables, str(path))
    if filled != page:
        atomic_write_text(path, filled)


def fill(page: str, tables: dict[str, str], where: str = "the page") -> str:
    """`fill_tables` on text."""
    parts, position = [], 0
    for begin in _BEGIN.finditer(page):
        name = begin[1]
        if name not in tables:
            raise ConfigError(
                f"{where} asks for the table {name!r}; there are {', '.join(sorted(tables))}"
            )
        end = _END.search(page, begin.end())
        following = _BEGIN.search(page, begin.end())
        if end is None or (following is not None and following.start() < end.start()):
            raise ConfigError(f"{where}: the table {name!r} has no line '<!-- end -->' after it")
        parts += [page[position : begin.end()], "\n\n", tables[name].strip(), "\n\n"]
        position = end.start()
    return "".join([*parts, page[position:]])
