"""Files of others are read in bounded memory, or refused at once."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dreamenv.core.errors import UnreadableFileError
from dreamenv.core.reading import is_stray, parse_json, read_bytes, read_json, read_npz, read_object

MIB = 2**20


def test_plain_data_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('\ufeff{"größe": [1, 0.5, null, true, Infinity]}', "utf-8")
    assert read_json(path) == {"größe": [1, 0.5, None, True, float("inf")]}
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("[" * 200_000, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested"),
        ("9" * 5000, "no JSON"),
        ("9" * 60, "an integer of over 128 bits"),
        ('{"a": "\xff"', "no JSON"),
        ("[1, 2]", "holds no JSON object"),
    ],
)
def test_json_that_would_choke_a_reader_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UnreadableFileError, match=message) as caught:
        read_object(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 500


def test_whatever_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "link", Path("/dev/stdin/none")):
        with pytest.raises((UnreadableFileError, FileNotFoundError)):
            read_bytes(path)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(UnreadableFileError, match="more than"):
        read_bytes(tmp_path / "large")
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        read_bytes("a\0b")


def npy(shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": dtype}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + data


def write_zip(path: Path, member: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.npy", member)
    return path


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "t": np.array("text"),
        "e": np.zeros((0, 3), bool),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)  # type: ignore[operator]
        read = read_npz(tmp_path / "a.npz", arrays, MIB)
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy((10**9, 10**9)), "unpacks to"),
        (npy((2**19,), data=b"x"), "holds less or more"),
        (npy((3,), data=bytes(9)), "holds less or more"),
        (npy((300 * MIB,), data=bytes(300 * MIB)), "unpacks to"),
        (npy((1,), "|O", b"c"), "holds no numbers"),
        (npy((-4,)), "holds no numbers|damaged"),
        (b"\x93NUMPY\x02\x00" + b"\xff" * 4, "version of .npy"),
        (b"nothing", "damaged"),
    ],
)
def test_arrays_that_declare_what_they_do_not_hold_are_refused(
    tmp_path: Path, member: bytes, message: str
) -> None:
    path = write_zip(tmp_path / "a.npz", member)
    assert path.stat().st_size < MIB  # a zip of 300 MiB of zeros too
    with pytest.raises(UnreadableFileError, match=message):
        read_npz(path, ("frames",), MIB)


def test_a_flipped_bit_in_an_array_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, frames=np.arange(1000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_npz(path, ("frames",), MIB)
    for text in (b"", b"PK\x05\x06", os.urandom(100)):
        path.write_bytes(text)
        with pytest.raises(UnreadableFileError, match="damaged"):
            read_npz(path, ("frames",), MIB)


def test_what_file_managers_and_editors_leave_behind() -> None:
    strays = [".DS_Store", "Thumbs.db", "desktop.ini", "._c", "a~", ".a.swp", "#a#", ".#a"]
    assert all(map(is_stray, strays))
    assert not any(map(is_stray, ["0", "c", "zarr.json", "episodes.jsonl", ".git"]))


def test_text_is_parsed_alike() -> None:
    assert parse_json("[1]") == parse_json(b"[1]") == [1]
