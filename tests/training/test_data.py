"""Batches: where the time contract puts every value, uniform, reproducible, and cached safely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_env import reward_of, step_of

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.data import LatentWindows, prefetch, sample_frames
from tests.conftest import write_counting_store
from tests.training.readable_latents import number_model, numbers

WINDOW = 5


def assert_batches_follow_the_store(store: RolloutStore, data: LatentWindows, model: Any) -> None:
    """Every row is a stretch of one episode; what it says of a frame led to that frame."""
    episodes = {int(seed) % 256: store.read(i) for i, seed in enumerate(store.seeds)}
    assert len(episodes) == store.num_episodes, "seeds must be told apart by one byte"
    continuous = store.action_space.shape != ()
    seen = set()
    for number in range(8):
        batch = data.batch(16, np.random.default_rng(number))
        for row, frames in enumerate(numbers(data, model, batch)):
            episode, first = episodes[int(frames[0, 1])], int(frames[0, 0])
            seen.add((int(frames[0, 1]), first))
            assert frames[:, 0].tolist() == list(range(first, first + WINDOW))
            assert len(set(frames[:, 1])) == 1
            start = batch.actions[row, 0]
            assert bool(start.isnan().all()) if continuous else int(start) == -1
            for t in range(1, WINDOW):
                step = first + t - 1  # the step that led to frame t
                assert np.array_equal(batch.actions[row, t].numpy(), episode.action[step])
            for t in range(WINDOW):
                step = first + t - 1
                if step < 0:  # nothing led to the first frame of an episode
                    assert batch.rewards[row, t] == 0 and not batch.terminated[row, t]
                else:
                    assert batch.rewards[row, t] == reward_of(step)
                    assert bool(batch.terminated[row, t]) == (step == len(episode) - 1)
    lengths = [len(e) for e in episodes.values()]
    assert len(seen) > 50 and any(first == 0 for _, first in seen)
    ends = [s for s in seen if s[1] + WINDOW - 1 == len(episodes[s[0]])]
    assert ends, f"no window of 128 reaches an end, in episodes of {lengths}"


def test_counting_from_collection_to_batch(tmp_path: Path) -> None:
    """collect → store → window → batch; episodes of 3 to 39 steps, the shortest ones skipped."""
    collect("counting_env:Counting-v0", 150, "uniform", 1, tmp_path / "store", 3, progress=False)
    store, model = RolloutStore(tmp_path / "store"), number_model()
    data = LatentWindows(store, model, tmp_path / "latents.npz", WINDOW)
    assert_batches_follow_the_store(store, data, model)
    usable = [n + 2 - WINDOW for n in store.lengths if n + 1 >= WINDOW]
    assert len(data._starts(WINDOW)) == sum(usable)


def test_continuous_actions_from_store_to_batch(tmp_path: Path, box_store: Path) -> None:
    store, model = RolloutStore(box_store), number_model()
    data = LatentWindows(store, model, tmp_path / "latents.npz", WINDOW)
    batch = data.batch(4, np.random.default_rng(0))
    assert batch.actions.shape == (4, WINDOW, 3) and batch.actions.dtype == torch.float32
    assert_batches_follow_the_store(store, data, model)


def test_windows_are_uniform_over_all_starts(tmp_path: Path) -> None:
    path = write_counting_store(tmp_path / "store", episodes=1, steps=WINDOW + 1)
    write_counting_store(path, episodes=1, steps=WINDOW + 5)
    store, model = RolloutStore(path), number_model()
    data = LatentWindows(store, model, tmp_path / "latents.npz", WINDOW)
    firsts = numbers(data, model, data.batch(9000, np.random.default_rng(0)))[:, 0]
    pairs, counts = np.unique(firsts, axis=0, return_counts=True)
    assert len(pairs) == 3 + 7
    assert np.abs(counts / 900 - 1).max() < 0.15


def test_a_batch_is_decided_by_its_generator(tmp_path: Path, counting_store: Path) -> None:
    data = LatentWindows(
        RolloutStore(counting_store), number_model(), tmp_path / "latents.npz", WINDOW
    )
    one, same, other = (data.batch(3, np.random.default_rng([7, i])) for i in (1, 1, 2))
    assert torch.equal(one.latents, same.latents) and torch.equal(one.actions, same.actions)
    assert not torch.equal(one.latents, other.latents)
    # Batches are copies: the start token is not written into the data.
    assert (data.actions[one.actions.shape[1] :] >= 0).any()
    again = data.batch(3, np.random.default_rng([7, 1]))
    assert torch.equal(one.actions, again.actions)


def test_latents_are_standardised_over_all_frames(tmp_path: Path, counting_store: Path) -> None:
    model = number_model()
    data = LatentWindows(RolloutStore(counting_store), model, tmp_path / "latents.npz", WINDOW)
    flat = data.latents.astype(np.float64).reshape(-1, 2)
    assert np.abs(flat.mean(0)).max() < 1e-3
    assert np.abs(flat.std(0) - 1).max() < 1e-2
    steps = np.concatenate([np.arange(61)] * 3)
    assert float(model.tokenizer.latent_mean[0]) == pytest.approx(steps.mean(), rel=1e-5)
    assert float(model.tokenizer.latent_std[0]) == pytest.approx(steps.std(), rel=1e-5)


def test_the_cache_is_used_and_remade_when_it_must_be(tmp_path: Path) -> None:
    path, cache = write_counting_store(tmp_path / "store"), tmp_path / "latents.npz"
    model = number_model()
    tokenizer: Any = model.tokenizer

    def encoded() -> int:
        """Frames that had to be encoded to open the windows now."""
        before = tokenizer.encoded
        data = LatentWindows(RolloutStore(path), model, cache, WINDOW)
        assert_batches_follow_the_store(RolloutStore(path), data, model)
        return tokenizer.encoded - before

    assert encoded() == 3 * 61
    tokenizer.latent_mean.zero_()  # as in a process that resumes
    assert encoded() == 0
    write_counting_store(path, episodes=1)  # the store grew
    assert encoded() == 4 * 61 and encoded() == 0
    with torch.no_grad():
        tokenizer.weight.add_(1)  # another tokenizer
    assert encoded() == 4 * 61 and encoded() == 0
    cache.write_bytes(cache.read_bytes()[:1000])
    assert encoded() == 4 * 61
    cache.write_bytes(b"")
    assert encoded() == 4 * 61 and encoded() == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latents.npz", "store"]


def test_a_full_disk_leaves_no_half_cache(
    tmp_path: Path, counting_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        LatentWindows(RolloutStore(counting_store), number_model(), tmp_path / "c.npz", WINDOW)
    assert list(tmp_path.iterdir()) == []


def test_too_short_episodes_are_named(tmp_path: Path, counting_store: Path) -> None:
    store, model = RolloutStore(counting_store), number_model()
    LatentWindows(store, model, tmp_path / "latents.npz", 61)
    with pytest.raises(RolloutError, match="has the 62 frames of a training window; collect"):
        LatentWindows(store, model, tmp_path / "latents.npz", 62)


def test_frames_for_the_tokenizer(tmp_path: Path) -> None:
    """As many as asked for, also of episodes shorter than a stretch; all of them can be drawn."""
    for steps in (3, 90):
        path = write_counting_store(tmp_path / f"store{steps}", episodes=2, steps=steps)
        store = RolloutStore(path)
        rng = np.random.default_rng(0)
        frames = sample_frames(store, 300, rng, (16, 16))
        assert frames.shape == (300, 16, 16, 3) and frames.dtype == np.uint8
        drawn = {step_of(frame[::2, ::2]) for frame in frames}
        assert drawn <= set(range(steps + 1)) and len(drawn) >= min(steps + 1, 60)
    same = sample_frames(store, 20, np.random.default_rng(5), (16, 16))
    assert np.array_equal(same, sample_frames(store, 20, np.random.default_rng(5), (16, 16)))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_prefetch_yields_in_order_and_stays_ahead_by_no_more_than_asked() -> None:
    made: list[int] = []

    def make(i: int) -> int:
        made.append(i)
        return i

    batches = prefetch(make, 3, 30, ahead=4)
    assert next(batches) == 3
    wait_until(lambda: len(made) >= 6)
    assert list(batches) == list(range(4, 30)) and made == list(range(3, 30))
    assert list(prefetch(make, 5, 5)) == []


def test_prefetch_passes_errors_on_and_stops_when_left() -> None:
    def make(i: int) -> int:
        if i == 2:
            raise RolloutError("chunk 2 is damaged")
        return i

    batches = prefetch(make, 0, 5)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(RolloutError, match="chunk 2"):
        next(batches)
    threads = threading.active_count()
    endless = prefetch(lambda i: i, 0, 10**9)
    next(endless)
    endless.close()  # type: ignore[attr-defined]
    wait_until(lambda: threading.active_count() <= threads)
