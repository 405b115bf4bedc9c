"""Encoded rollouts: on disk, grown and mended by the episode, and the same to the bit."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamenv.core.errors import ConfigError
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.training import latent_log
from dreamenv.training import latents as module
from dreamenv.training.data import LatentWindows
from dreamenv.training.latent_log import LatentLog
from dreamenv.training.latents import Encoded, encoded
from tests.conftest import write_counting_store
from tests.training.readable_latents import NumberTokenizer, number_model

CHANNELS, TOKENS = 5, 3


class WideTokenizer(NumberTokenizer):
    """Latents (TOKENS, CHANNELS) that differ in every place and frame, of uneven sizes."""

    def encode_raw(self, frames: torch.Tensor) -> torch.Tensor:
        number = super().encode_raw(frames)[:, 0].double()
        place = torch.arange(TOKENS * CHANNELS).reshape(TOKENS, CHANNELS)
        value = torch.sin(number[:, :1, None] * (place + 1.3) + number[:, 1:, None])
        return (value * (place + 1) + place).float() + self.weight.detach()


def wide_model() -> Any:
    model: Any = number_model()
    model.tokenizer = WideTokenizer()
    return model


def in_memory(store: RolloutStore, model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, mean and deviation as they are when all of them are held in memory."""
    frames = np.concatenate([store.read(i).observation for i in range(store.num_episodes)])
    raw = frames.repeat(2, 1).repeat(2, 2)
    unit = torch.from_numpy(raw) / 255
    found = model.tokenizer.encode_raw(unit).to(torch.float16).numpy().copy()
    flat = found.reshape(-1, CHANNELS)
    mean = flat.mean(0, dtype=np.float64)
    square = np.einsum("nc,nc->c", flat, flat, dtype=np.float64) / len(flat)
    std = np.sqrt(np.maximum(square - mean**2, 1e-6))
    flat[:] = (flat - mean) / std
    return found, mean.astype(np.float32), std.astype(np.float32)


def opened(path: Path, cache: Path, model: Any) -> tuple[int, Encoded]:
    """Frames that had to be encoded to open a store, and what was opened, which must be right."""
    store, before = RolloutStore(path), model.tokenizer.encoded
    found = encoded(store, model, cache)
    count = model.tokenizer.encoded - before
    expected, mean, std = in_memory(store, model)
    assert np.array_equal(found.latents[:], expected)
    assert np.array_equal(found.latent_mean, mean) and np.array_equal(found.latent_std, std)
    windows = [model_time(store.read(i), store.action_space) for i in range(store.num_episodes)]
    for name in ("action", "reward", "terminated"):
        whole = np.concatenate([getattr(window, name) for window in windows])
        assert np.array_equal(getattr(found, name)[:], whole)
    return count, found


def log_of(cache: Path) -> Path:
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    return folder


def test_rows_are_what_they_would_be_in_memory(tmp_path: Path, counting_store: Path) -> None:
    model = wide_model()
    _, found = opened(counting_store, tmp_path / "latents", model)
    expected, mean, std = in_memory(RolloutStore(counting_store), model)
    rng = np.random.default_rng(0)
    index = rng.integers(len(expected), size=(4, 7))
    assert np.array_equal(found.latents[index], expected[index])
    assert found.latents[index].dtype == np.float16 and found.latents.shape == expected.shape
    assert np.array_equal(found.latents[-1], expected[-1])
    assert np.array_equal(found.terminated[::5], found.terminated[:][::5])
    for outside in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError, match="rows 0"):
            found.latents[[outside]]
    # Measured anew, as a model that is trained on measures them.
    other_mean, other_std = mean + np.float32(0.3), std * np.float32(1.7)
    shift, scale = (mean - other_mean) / other_std, std / other_std
    flat = expected.reshape(-1, CHANNELS)
    flat[:] = flat * scale + shift
    found.restandardise(other_mean, other_std)
    assert np.array_equal(found.latents[:], expected) and found.latent_mean is other_mean


def test_only_what_is_new_is_encoded(tmp_path: Path) -> None:
    path, cache, model = (
        write_counting_store(tmp_path / "store"),
        tmp_path / "latents",
        wide_model(),
    )
    assert opened(path, cache, model)[0] == 3 * 61
    model.tokenizer.latent_mean.zero_()  # as in a process that resumes
    first = opened(path, cache, model)
    assert first[0] == 0
    held = first[1].latents[:]
    write_counting_store(path, episodes=2)  # the store grew
    assert opened(path, cache, model)[0] == 2 * 61
    assert np.array_equal(first[1].latents[:], held), "what is mapped stays as it was"
    assert opened(path, cache, model)[0] == 0
    # A store of the same episodes in another place, and a shorter one, need nothing new.
    shutil.copytree(path, tmp_path / "copy")
    assert opened(tmp_path / "copy", cache, model)[0] == 0
    assert opened(write_counting_store(tmp_path / "short"), cache, model)[0] == 0
    with torch.no_grad():
        model.tokenizer.weight.add_(1)  # another tokenizer
    assert opened(path, cache, model)[0] == 5 * 61
    assert opened(path, cache, model)[0] == 0
    assert len(list(cache.glob("[0-9a-f]*"))) == 1  # what the first one made is gone
    assert np.array_equal(first[1].latents[:], held)  # but not for those who have it open


def test_stores_of_one_environment_share_a_folder(tmp_path: Path) -> None:
    """Their episodes stand in it in another order than in the store."""
    cache, model = tmp_path / "latents", wide_model()
    one = write_counting_store(tmp_path / "one", episodes=1, steps=20)
    two = write_counting_store(tmp_path / "two", episodes=2, steps=9)
    write_counting_store(two, episodes=1, steps=20)
    assert opened(two, cache, model)[0] == 2 * 10 + 21
    assert opened(one, cache, model)[0] == 21  # other frames, though of as many steps
    assert opened(two, cache, model)[0] == opened(one, cache, model)[0] == 0


def damage_last(log: Path, field: str) -> None:
    """Flip a bit in the rows of the episode that was added last."""
    places = LatentLog.read(log).places.values()  # type: ignore[union-attr]
    last = max(places, key=lambda place: place.row)
    path = log / f"{field}.rows"
    data = bytearray(path.read_bytes())
    data[len(data) * (last.row + last.frames // 2) // (last.row + last.frames)] ^= 1
    path.write_bytes(data)


def test_damaged_rows_are_made_again_and_no_others(tmp_path: Path) -> None:
    path, cache, model = (
        write_counting_store(tmp_path / "store"),
        tmp_path / "latents",
        wide_model(),
    )
    opened(path, cache, model)
    log = log_of(cache)
    for field in ("latents", "action", "reward", "terminated"):
        damage_last(log, field)
        assert opened(path, cache, model)[0] == 61, field
    file = log / "reward.rows"
    file.write_bytes(file.read_bytes()[:-1])  # cut short: what was added last is lost
    assert opened(path, cache, model)[0] == 61
    file.unlink()
    assert opened(path, cache, model)[0] == 3 * 61
    assert opened(path, cache, model)[0] == 0


def test_what_is_no_file_is_replaced(tmp_path: Path, counting_store: Path) -> None:
    """Neither waited for nor written through."""
    cache, model = tmp_path / "latents", wide_model()
    opened(counting_store, cache, model)
    log, elsewhere = log_of(cache), tmp_path / "elsewhere"
    elsewhere.write_bytes(b"somebody's")
    for place, name in ((os.mkfifo, "reward.rows"), (os.mkdir, "action.rows"),
                        (lambda path: path.symlink_to(elsewhere), "latents.rows"),
                        (os.mkfifo, "episodes.jsonl")):  # fmt: skip
        (log / name).unlink()
        place(log / name)
        assert opened(counting_store, cache, model)[0] == 3 * 61
        assert opened(counting_store, cache, model)[0] == 0
    assert elsewhere.read_bytes() == b"somebody's"


def test_a_damaged_journal_costs_the_episodes_of_its_damaged_lines(tmp_path: Path) -> None:
    path, cache, model = (
        write_counting_store(tmp_path / "store"),
        tmp_path / "latents",
        wide_model(),
    )
    opened(path, cache, model)
    journal = log_of(cache) / "episodes.jsonl"
    header, *lines = journal.read_text().splitlines()
    for damage in (
        "\x00{",
        lines[2].replace('"row": ', '"row": 1'),
        lines[2].replace('"numbers": [', '"numbers": [9'),
        lines[2].replace('"frames": ', '"frames": -'),
    ):
        journal.write_text("\n".join([header, *lines[:2], damage]) + "\n")
        assert opened(path, cache, model)[0] == 61, damage
    for damage in ("", header.replace("<f2", "<u2"), header.replace("<f2", "O")):
        journal.write_text("\n".join([damage, *lines]) + "\n")
        assert opened(path, cache, model)[0] == 3 * 61, damage
    assert opened(path, cache, model)[0] == 0


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


@pytest.mark.parametrize("when", ["between the files", "in the middle of the line"])
def test_a_killed_process_loses_the_episode_under_way_and_no_other(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache, model = (
        write_counting_store(tmp_path / "store"),
        tmp_path / "latents",
        wide_model(),
    )
    append, checksum, lines = latent_log.append_json_line, latent_log._checksum, []

    def line(path: Path, record: dict[str, Any]) -> None:
        lines.append(record)
        if len(lines) == 3:
            path.open("ab").write(b'{"episode": "half')
            raise Killed
        append(path, record)

    def rows(array: np.ndarray, before: int) -> int:
        if len(lines) == 2 and when == "between the files":
            raise Killed
        return checksum(array, before)

    with monkeypatch.context() as patch:
        patch.setattr(latent_log, "append_json_line", line)
        patch.setattr(latent_log, "_checksum", rows)
        with pytest.raises(Killed):
            encoded(RolloutStore(path), model, cache)
    assert opened(path, cache, model)[0] == 61
    assert opened(path, cache, model)[0] == 0


def test_a_full_disk_keeps_what_was_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache, model = (
        write_counting_store(tmp_path / "store"),
        tmp_path / "latents",
        wide_model(),
    )
    append, count = LatentLog.append, []

    def full(self: LatentLog, *what: Any) -> None:
        count.append(1)
        if len(count) == 3:
            (self.folder / "latents.rows").open("ab").write(b"half a row")
            raise OSError(28, "No space left on device")
        append(self, *what)

    with monkeypatch.context() as patch:
        patch.setattr(LatentLog, "append", full)
        with pytest.raises(OSError, match="No space left"):
            encoded(RolloutStore(path), model, cache)
    assert opened(path, cache, model)[0] == 61


def test_two_processes_encode_every_episode_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, and finds all that it needs."""
    path, cache, model = (
        write_counting_store(tmp_path / "store"),
        tmp_path / "latents",
        wide_model(),
    )
    missing = module._encode_missing

    def meanwhile(*what: Any) -> None:
        """Another process had the folder before this one got it."""
        monkeypatch.setattr(module, "_encode_missing", missing)
        missing(*what)
        before = model.tokenizer.encoded
        missing(*what)
        assert model.tokenizer.encoded == before

    monkeypatch.setattr(module, "_encode_missing", meanwhile)
    assert opened(path, cache, model)[0] == 3 * 61


def test_a_file_of_an_earlier_version_is_named(tmp_path: Path, counting_store: Path) -> None:
    (tmp_path / "latents.npz").touch()
    with pytest.raises(ConfigError, match=r"latents\.npz is a file; .* delete it"):
        encoded(RolloutStore(counting_store), wide_model(), tmp_path / "latents.npz")
    assert (tmp_path / "latents.npz").exists()


def test_memory_does_not_grow_with_the_number_of_episodes(tmp_path: Path) -> None:
    """But for what an episode's line says: far less than its frames are."""
    tokens = 64 * 16

    class LargeTokenizer(NumberTokenizer):
        def encode_raw(self, frames: torch.Tensor) -> torch.Tensor:
            number = super().encode_raw(frames)
            return number.repeat(1, tokens, 1)

    def peak(path: Path, cache: Path) -> int:
        """Most bytes held at a time, of opening a store and drawing a batch from it."""
        model: Any = number_model()
        model.tokenizer = LargeTokenizer()
        store = RolloutStore(path)
        tracemalloc.start()
        data = LatentWindows(store, model, cache, 5)
        data.batch(4, np.random.default_rng(0))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few = write_counting_store(tmp_path / "few", episodes=2)
    many = write_counting_store(tmp_path / "many", episodes=12)
    peak(few, tmp_path / "warm")
    for what in ("encoded", "mapped"):  # the second time they are there
        small, large = peak(few, tmp_path / "a"), peak(many, tmp_path / "b")
        frames = 10 * 61 * tokens * 2 * 2
        assert large - small < frames / 20, (what, small, large)


def test_the_journal_says_what_a_log_holds(tmp_path: Path, counting_store: Path) -> None:
    opened(counting_store, tmp_path / "latents", wide_model())
    lines = (log_of(tmp_path / "latents") / "episodes.jsonl").read_text().splitlines()
    header, *records = map(json.loads, lines)
    assert header["fields"]["latents"] == ["<f2", TOKENS, CHANNELS]
    assert [r["episode"] for r in records] == RolloutStore(counting_store).contents
    assert [r["row"] for r in records] == [0, 61, 122]
