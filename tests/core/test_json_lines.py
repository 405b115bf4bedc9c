"""Logs survive a kill in the middle of a line, and say which line somebody else has damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamenv.core.errors import CheckpointError
from dreamenv.core.json_lines import append_json_line, keep_json_lines, read_json_lines


def test_a_last_line_that_was_cut_off_is_as_if_it_had_never_been_begun(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_json_lines(path) == []
    append_json_line(path, {"step": 1})
    append_json_line(path, {"step": 2})
    whole = path.read_bytes()
    for cut in range(1, len(whole) - whole.index(b"\n") - 1):
        path.write_bytes(whole[:-cut])
        assert [record["step"] for record in read_json_lines(path)][:1] == [1]
        append_json_line(path, {"step": 3})
        assert read_json_lines(path) == [{"step": 1}, {"step": 3}]
    path.write_bytes(b"{torn")
    append_json_line(path, {"step": 1})
    assert read_json_lines(path) == [{"step": 1}]


def test_only_what_is_wanted_stays(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    keep_json_lines(path, lambda record: True)
    assert not path.exists()
    path.write_text('{"step": 1}\n{"step": 2}\n{"st', encoding="utf-8")
    keep_json_lines(path, lambda record: record["step"] < 2)
    assert path.read_text("utf-8") == '{"step": 1}\n'


@pytest.mark.parametrize("line", [b"{torn", b"[1]", b"3", b"\xff\xfe"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(CheckpointError, match=r"line 2 of .*log.jsonl is damaged .*delete that"):
        read_json_lines(path)
