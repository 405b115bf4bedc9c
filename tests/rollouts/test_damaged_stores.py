"""Stores that somebody else wrote, damaged or set as traps: refused, and nothing is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from counting_episodes import DISCRETE, OBSERVATIONS, assert_same_episode, counting_episode
from numcodecs import Zstd

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.spaces import space_from_dict
from dreamenv.rollouts.store import RolloutStore, RolloutWriter

LENGTHS = [3, 40, 1030]


def episode(length: int, seed: int) -> Episode:
    episode = counting_episode(length, seed=seed)
    episode.info = {"place": np.arange(2 * (length + 1), dtype=np.float32).reshape(-1, 2)}
    return episode


EPISODES = [episode(length, seed) for seed, length in enumerate(LENGTHS)]


def writer_at(path: Path) -> RolloutWriter:
    return RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "store"
    with writer_at(path) as writer:
        for one in EPISODES:
            writer.append(one)
    return path


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "store")


@pytest.fixture
def old_store(store: Path) -> Path:
    """As earlier versions wrote it: without checksums."""
    change_journal(store, lambda _: None)
    return store


def change_journal(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Lines of the journal changed, and written without any checksum."""
    journal = path / "episodes.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        for name in ("check", "digests", "layouts"):
            line.pop(name, None)
    change(lines)
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_all(path: Path) -> None:
    """Read everything; what comes back is what was written."""
    store = RolloutStore(path)
    assert (store.env_id, store.num_episodes) == ("Counting-v0", len(EPISODES))
    assert store.action_space == DISCRETE and store.observation_space == OBSERVATIONS
    for index, one in enumerate(EPISODES):
        assert_same_episode(store.read(index), one)
        assert np.array_equal(store.read_info(index)["place"], one.info["place"])


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != "writer.lock")


def test_whole_stores_are_read(store: Path) -> None:
    read_all(store)


def test_stores_of_earlier_versions_are_read_and_continued(old_store: Path) -> None:
    read_all(old_store)
    with writer_at(old_store) as writer:
        writer.append(EPISODES[0])
    assert_same_episode(RolloutStore(old_store).read(3), EPISODES[0])
    assert "layouts" in json.loads((old_store / "episodes.jsonl").read_text().splitlines()[-1])


def test_a_flipped_bit_is_noticed_or_changes_nothing(written: Path, tmp_path: Path) -> None:
    """In any file, the descriptions of the arrays among them."""
    rng, refused = np.random.default_rng(0), 0
    path = shutil.copytree(written, tmp_path / "copy")
    for file in files_of(path):
        whole = file.read_bytes()
        for _ in range(2):
            damaged = bytearray(whole)
            damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            try:
                read_all(path)
            except RolloutError:
                refused += 1
        file.write_bytes(whole)
    assert refused > len(files_of(path))


@pytest.mark.parametrize("field", ["reward", "observation", "action", "info/place"])
def test_a_shard_of_another_store_is_refused(store: Path, tmp_path: Path, field: str) -> None:
    """Of the same size and as whole as the right one."""
    other = [counting_episode(length, seed=7 + i) for i, length in enumerate(LENGTHS)]
    for mine, theirs in zip(EPISODES, other, strict=True):
        theirs.info = {name: values + 1 for name, values in mine.info.items()}
        theirs.reward, theirs.action = mine.reward[::-1].copy(), (mine.action + 1) % DISCRETE.n
        theirs.observation = mine.observation[::-1].copy()
    with writer_at(tmp_path / "other") as writer:
        for one in other:
            writer.append(one)
    for file in files_of(store / field):
        if file.name != "zarr.json":
            theirs = (tmp_path / "other" / file.relative_to(store)).read_bytes()
            assert theirs != file.read_bytes()
            file.write_bytes(theirs)
    with pytest.raises(RolloutError, match="not the file that was written|missing or cut short"):
        read_all(store)


def change_layout(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("reward", lambda d: d.update(data_type="int32", fill_value=0)),
        ("reward", lambda d: d.update(fill_value=1.0)),
        ("reward", lambda d: d["codecs"][0]["configuration"].update(endian="big")),
        ("reward", lambda d: d["codecs"].pop(0)),
        ("reward", lambda d: d["codecs"].insert(0, {"name": "numcodecs.pickle"})),
        ("reward", lambda d: d.update(storage_transformers=[{"name": "x"}])),
        ("reward", lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[10**9])),
        ("observation", lambda d: d["shape"].__setitem__(1, 10**9)),
        ("observation", lambda d: d["chunk_key_encoding"]["configuration"].update(separator=".")),
        ("observation", lambda d: d["codecs"][0]["configuration"].update(index_location="start")),
        ("action", lambda d: d.update(node_type="group")),
        ("info/place", lambda d: d.update(data_type="|O")),
        ("info/place", lambda d: d.update(shape=[2**60, 2**60])),
    ],
)
def test_descriptions_that_no_writer_makes_are_refused(
    old_store: Path, field: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """Even where no digest is known."""
    change_layout(old_store / field / "zarr.json", change)
    with pytest.raises(RolloutError, match=r"zarr\.json"):
        RolloutStore(old_store)


def test_a_layout_of_another_store_is_refused(store: Path) -> None:
    """One that would be read, but is not the one that was written."""
    change_layout(store / "reward" / "zarr.json", lambda d: d["codecs"][1].update(
        configuration={"level": 4, "checksum": True}
    ))  # fmt: skip
    with pytest.raises(RolloutError, match="damaged or of another store"):
        RolloutStore(store)


def test_other_rewards_are_noticed_without_digests(old_store: Path) -> None:
    array = zarr.open_array(old_store / "reward", mode="r+")
    array[2] = array[2] + 1
    size = (old_store / "reward" / "c" / "0").stat().st_size
    change_journal(old_store, lambda lines: lines[1]["bytes"].update(reward=size))
    with pytest.raises(RolloutError, match="not what was recorded, its rewards have another sum"):
        RolloutStore(old_store).read_steps(0)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(start=5),
        lambda r: r.update(start=-1024),
        lambda r: r.update(start=0),
        lambda r: r.update(steps=0),
        lambda r: r.update(steps=2**62),
        lambda r: r.update(steps=40.0),
        lambda r: r.update(steps=True),
        lambda r: r.update(seed=2**64),
        lambda r: r.update(seed="1"),
        lambda r: r.update(policy=3),
        lambda r: r.update({"return": float("nan")}),
        lambda r: r.update({"return": "1"}),
        lambda r: r.update(reward_events=-1),
        lambda r: r.update(info=["../../place"]),
        lambda r: r.update(info=["/etc"]),
        lambda r: r.update(info="place"),
        lambda r: r.update(info=[]),
        lambda r: r.update(bytes={}),
        lambda r: r["bytes"].pop("reward"),
        lambda r: r["bytes"].update(reward=-5),
        lambda r: r["bytes"].update({"../reward": 5}),
        lambda r: r.pop("seed"),
        lambda r: r.update(digests={"reward": []}),
    ],
)
def test_records_that_no_writer_makes_are_refused(
    old_store: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    change_journal(old_store, lambda lines: change(lines[2]))
    for open_it in (RolloutStore, writer_at):
        with pytest.raises(RolloutError):
            open_it(old_store)
            assert open_it is writer_at  # it need not look at every file, but must not write
            raise RolloutError


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps({"format": "dreamenv-rollouts", "version": 10**40}),
        json.dumps({"format": "dreamenv-rollouts"}),
        '{"format": "dreamenv-rollouts", "version": 1}\n' + "9" * 10_000,
    ],
)
def test_journals_that_would_choke_a_reader_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "episodes.jsonl").write_text(text + "\n")
    with pytest.raises(RolloutError) as caught:
        RolloutStore(tmp_path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "space",
    [
        {"type": "Box", "low": 0, "high": 1, "shape": [10**6, 10**6], "dtype": "uint8"},
        {"type": "Box", "low": 0, "high": 1, "shape": [2.5], "dtype": "uint8"},
        {"type": "Box", "low": 0, "high": 1, "shape": [-1], "dtype": "uint8"},
        {"type": "Box", "low": 0, "high": 1, "shape": [3], "dtype": "O"},
        {"type": "Box", "low": 0, "high": 10**30, "shape": [3], "dtype": "int64"},
        {"type": "Discrete", "n": 10**30, "start": 0},
        {"type": "Discrete", "n": "6", "start": 0},
        {"type": "Discrete", "n": -6, "start": 0},
        {"type": ["x"]},
        {},
    ],
)
def test_spaces_that_no_writer_describes_are_refused(space: dict[str, Any]) -> None:
    with pytest.raises(RolloutError):
        space_from_dict(space)


@pytest.mark.parametrize(
    "name", ["episodes.jsonl", "reward/zarr.json", "reward/c/0", "observation/c/1/0/0/0"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_stands_where_a_file_should_is_refused_at_once(
    store: Path, name: str, kind: str
) -> None:
    path = store / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(RolloutError):
        read_all(store)


LINKS = ["observation", "observation/c", "reward/c", "reward/zarr.json", "info", "info/place/c"]


@pytest.mark.parametrize("link", [*LINKS, "episodes.jsonl", "writer.lock"])
def test_a_link_never_leads_a_writer_out_of_the_store(
    store: Path, tmp_path: Path, link: str
) -> None:
    (store / "writer.lock").touch()
    (tmp_path / "outside").mkdir()
    outside = tmp_path / "outside" / "kept"
    shutil.move(store / link, outside)
    (store / link).symlink_to(outside)
    if outside.is_dir():
        (outside / "77").mkdir()
        (outside / "77" / "precious").write_text("mine")
        (outside / "88.partial").write_text("mine")
    before = {file: file.read_bytes() for file in files_of(tmp_path / "outside")}
    with pytest.raises(RolloutError, match="symbolic link"):
        writer_at(store)
    assert {file: file.read_bytes() for file in files_of(tmp_path / "outside")} == before


def test_leftovers_that_are_links_are_removed_and_not_what_they_point_to(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    (store / "reward" / "c" / "99").symlink_to(tmp_path / "outside")
    (store / "reward" / "x.partial").symlink_to(tmp_path / "outside" / "precious")
    with writer_at(store):
        pass
    assert (tmp_path / "outside" / "precious").read_text() == "mine"
    assert not (store / "reward" / "c" / "99").is_symlink()


def test_stray_files_are_left_alone(store: Path, tmp_path: Path) -> None:
    names = [".DS_Store", "Thumbs.db", "._0", "0~", ".0.swp", "desktop.ini"]
    for folder in (store, store / "reward", store / "reward" / "c", store / "observation" / "c"):
        for name in names:
            (folder / name).write_text("stray")
    read_all(store)
    with writer_at(store) as writer:
        writer.append(EPISODES[0])
    assert (store / "reward" / "c" / ".DS_Store").exists()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".DS_Store").write_text("stray")
    with writer_at(tmp_path / "new") as writer:
        writer.append(EPISODES[0])
    RolloutStore(tmp_path / "new").read(0)


def test_rows_that_unpack_to_gigabytes_are_refused(old_store: Path) -> None:
    shard = old_store / "reward" / "c" / "1"
    frame = Zstd().encode(bytes(200 * 2**20))
    shard.write_bytes(frame)
    change_journal(old_store, lambda lines: lines[2]["bytes"].update(reward=len(frame)))
    with pytest.raises(RolloutError, match="unpacks to another size"):
        RolloutStore(old_store).read(1)


def test_infos_whose_names_lead_elsewhere_are_not_stored(tmp_path: Path) -> None:
    for name in ("../place", "/place", "a//b", "a\0"):
        bad = episode(3, 0)
        bad.info = {name: bad.info["place"]}
        with (
            writer_at(tmp_path) as writer,
            pytest.raises(RolloutError, match=re.escape(repr(name))),
        ):
            writer.append(bad)
