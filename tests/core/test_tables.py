"""Tables for the terminal: columns line up."""

from __future__ import annotations

from dreamenv.core.tables import aligned


def test_columns_of_the_terminal_line_up() -> None:
    lines = aligned([["agent", "return"], ["a", "1.00"], ["longer name", "-10.00"]])
    assert lines == ["agent         return", "a               1.00", "longer name   -10.00"]
