"""Batches: where the time contract puts every value, uniform, reproducible, and cached safely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from counting_env import reward_of, step_of

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.data import LatentWindows, prefetch, sample_frames
from dreamenv.training.stretches import Stretches
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
        for row, padded in enumerate(numbers(data, model, batch)):
            count = int(batch.valid[row].sum())
            assert batch.valid[row, :count].all() and count >= 2
            frames = padded[:count]
            episode, first = episodes[int(frames[0, 1])], int(frames[0, 0])
            seen.add((int(frames[0, 1]), first, count))
            assert frames[:, 0].tolist() == list(range(first, first + count))
            # Fewer than a whole window only where the episode begins or ends.
            assert count == WINDOW or first == 0 or first + count - 1 == len(episode)
            assert len(set(frames[:, 1])) == 1
            start = batch.actions[row, 0]
            assert bool(start.isnan().all()) if continuous else int(start) == -1
            for t in range(1, count):
                step = first + t - 1  # the step that led to frame t
                assert np.array_equal(batch.actions[row, t].numpy(), episode.action[step])
            for t in range(count):
                step = first + t - 1
                if step < 0:  # nothing led to the first frame of an episode
                    assert batch.rewards[row, t] == 0 and not batch.terminated[row, t]
                else:
                    assert batch.rewards[row, t] == reward_of(step)
                    assert bool(batch.terminated[row, t]) == (step == len(episode) - 1)
    assert len(seen) > 50 and any(first == 0 for _, first, _ in seen)
    ends = [s for s in seen if s[1] + s[2] - 1 == len(episodes[s[0]])]
    assert ends and {s[0] for s in seen} == set(episodes)


def test_counting_from_collection_to_batch(tmp_path: Path) -> None:
    """collect → store → window → batch; episodes of 3 to 39 steps."""
    collect("counting_env:Counting-v0", 150, "uniform", 1, tmp_path / "store", 3, progress=False)
    store, model = RolloutStore(tmp_path / "store"), number_model()
    data = LatentWindows(store, model, tmp_path / "latents", WINDOW)
    assert_batches_follow_the_store(store, data, model)


def test_episodes_shorter_than_a_window_among_longer_ones(tmp_path: Path) -> None:
    path = write_counting_store(tmp_path / "store", episodes=2, steps=WINDOW - 3)
    store, model = RolloutStore(write_counting_store(path, episodes=2, steps=40)), number_model()
    data = LatentWindows(store, model, tmp_path / "latents", WINDOW, ends=0.25)
    assert_batches_follow_the_store(store, data, model)


def test_continuous_actions_from_store_to_batch(tmp_path: Path, box_store: Path) -> None:
    store, model = RolloutStore(box_store), number_model()
    data = LatentWindows(store, model, tmp_path / "latents", WINDOW)
    batch = data.batch(4, np.random.default_rng(0))
    assert batch.actions.shape == (4, WINDOW, 3) and batch.actions.dtype == torch.float32
    assert_batches_follow_the_store(store, data, model)


class Every:
    """In the place of a random generator: draws every possibility once, in order."""

    def integers(self, high: int, size: int) -> np.ndarray:
        assert size == high
        return np.arange(high)

    def random(self, size: int) -> np.ndarray:
        return np.ones(size)


def counted(lengths: list[int], window: int, **how: Any) -> np.ndarray:
    """How often each frame of each episode follows another in a window, over all draws."""
    ended, every = np.zeros(len(lengths), np.bool_), cast(np.random.Generator, Every())
    stretches = Stretches(np.array(lengths), ended, window, **how)
    total = int(stretches._until[-1])
    first, count = stretches.draw(total, every)
    stride, times = how.get("stride", 1), np.zeros(sum(lengths), np.int64)
    filled = 0
    episode = np.repeat(np.arange(len(lengths)), lengths)
    for begin, frames in zip(first.tolist(), count.tolist(), strict=True):
        index = begin + stride * np.arange(frames)
        assert frames <= window and len(set(episode[index])) == 1
        back = index[::-1] if how.get("retraced") else index[:0]
        np.add.at(times, np.concatenate([index[1:], back]), 1)
        filled += frames
    assert stretches.filled == pytest.approx(filled / total / window)
    return times


@pytest.mark.parametrize("lengths", [[WINDOW, 2, 9], [3, 17, 4, 6], [40], [2]])
@pytest.mark.parametrize("window", [2, 3, WINDOW, 20])
def test_every_frame_is_scored_equally_often(lengths: list[int], window: int) -> None:
    """Exactly, over all draws: the last frame of an episode as well as those in its middle."""
    times = counted(lengths, window)
    firsts = np.cumsum(lengths) - lengths
    assert (times[firsts] == 0).all()  # nothing comes before them
    assert set(np.delete(times, firsts)) == {window - 1}


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("window", [2, 4, 9])
def test_every_frame_is_scored_equally_often_under_a_stride(stride: int, window: int) -> None:
    lengths = [1, 2, 5, 11, 20]
    times = counted(lengths, window, stride=stride)
    inside = np.concatenate([np.arange(n) for n in lengths])
    assert (times[inside < stride] == 0).all()  # none comes before them that could be seen
    assert set(times[inside >= stride]) == {window - 1}


@pytest.mark.parametrize("window", [1, 2, 4, 9])
def test_retraced_frames_are_scored_equally_often(window: int) -> None:
    lengths = [1, 2, 5, 11, 20]
    times = counted(lengths, window, retraced=True)
    inside = np.concatenate([np.arange(n) for n in lengths])
    assert set(times[inside > 0]) <= {2 * window - 1, 2 * (2 * window - 1)}
    assert len(set(times[inside > 0])) == 1 and (times[inside == 0] > 0).all()


def test_a_share_of_windows_ends_where_episodes_terminate() -> None:
    lengths = np.array([30, 3, 12, 40])
    ended = np.array([True, True, False, True])
    offsets = np.cumsum(lengths) - lengths
    last = offsets + lengths - 1
    for stride in (1, 2):
        stretches = Stretches(lengths, ended, WINDOW, stride)
        assert stretches.endings == 3
        first, count = stretches.draw(600, np.random.default_rng(0), ends=1.0)
        reached = first + stride * (count - 1)
        found, times = np.unique(reached, return_counts=True)
        assert found.tolist() == last[ended].tolist() and times.min() > 150
        assert (count == np.minimum(WINDOW, (reached - offsets[np.searchsorted(last, reached)])
                                    // stride + 1)).all()  # fmt: skip
    stretches = Stretches(lengths, ended, WINDOW)
    first, count = stretches.draw(4000, np.random.default_rng(0), ends=0.25)
    plain, plain_count = stretches.draw(4000, np.random.default_rng(0))
    met = np.isin(first + count - 1, last[ended]).mean()
    assert met - np.isin(plain + plain_count - 1, last[ended]).mean() == pytest.approx(
        0.2, abs=0.03
    )
    # Where nothing terminates there is nothing to prefer.
    none = Stretches(lengths, np.zeros(4, np.bool_), WINDOW)
    assert none.endings == 0 and len(none.draw(5, np.random.default_rng(0), ends=1.0)[0]) == 5


def test_a_batch_is_decided_by_its_generator(tmp_path: Path, counting_store: Path) -> None:
    data = LatentWindows(RolloutStore(counting_store), number_model(), tmp_path / "latents", WINDOW)
    one, same, other = (data.batch(3, np.random.default_rng([7, i])) for i in (1, 1, 2))
    assert torch.equal(one.latents, same.latents) and torch.equal(one.actions, same.actions)
    assert not torch.equal(one.latents, other.latents)
    # Batches are copies: the start token is not written into the data.
    assert (data.actions[one.actions.shape[1] :] >= 0).any()
    again = data.batch(3, np.random.default_rng([7, 1]))
    assert torch.equal(one.actions, again.actions)


def test_latents_are_standardised_over_all_frames(tmp_path: Path, counting_store: Path) -> None:
    model = number_model()
    data = LatentWindows(RolloutStore(counting_store), model, tmp_path / "latents", WINDOW)
    flat = data.latents[:].astype(np.float64).reshape(-1, 2)
    assert np.abs(flat.mean(0)).max() < 1e-3
    assert np.abs(flat.std(0) - 1).max() < 1e-2
    steps = np.concatenate([np.arange(61)] * 3)
    assert float(model.tokenizer.latent_mean[0]) == pytest.approx(steps.mean(), rel=1e-5)
    assert float(model.tokenizer.latent_std[0]) == pytest.approx(steps.std(), rel=1e-5)


def test_episodes_shorter_than_a_window_are_padded(tmp_path: Path, counting_store: Path) -> None:
    store, model = RolloutStore(counting_store), number_model()
    data = LatentWindows(store, model, tmp_path / "latents", 100)
    batch = data.batch(4, np.random.default_rng(0))
    assert batch.valid.sum(1).tolist() == [61] * 4 and batch.latents.shape[1] == 100
    assert data.stretches(100).shorter == 3 and data.stretches(100).filled == 0.61
    with pytest.raises(RolloutError, match="two frames 61 steps apart; collect longer episodes or"):
        LatentWindows(store, model, tmp_path / "latents", 2, stride=61)


def test_the_tokenizer_sees_every_frame_equally_often() -> None:
    """Exactly, over all blocks: the last ones of an episode as well as those in its middle."""
    lengths = np.array([2, 89, 6, 30])  # steps; 131 frames are two blocks and three frames

    def read(episode: int, start: int, stop: int) -> Any:
        frames = np.zeros((stop + 1 - start, 16, 16, 1), np.uint8)
        frames[:, 0, 0, 0], frames[:, 0, 1, 0] = episode, np.arange(start, stop + 1)
        return SimpleNamespace(observation=frames)

    class Turning:
        """Draws block `first` and then, of each block, the picks that begin with `turn`."""

        def __init__(self, first: int, turn: int) -> None:
            self.first, self.turn = first, turn

        def integers(self, high: int) -> int:
            assert high == 131
            return self.first

        def choice(self, high: int, size: int, replace: bool) -> np.ndarray:
            assert replace == (high < size)
            return (self.turn + np.arange(size)) % high

        def permutation(self, frames: np.ndarray) -> np.ndarray:
            return frames

    store, chance = cast(Any, SimpleNamespace(lengths=lengths, read=read)), np.zeros((4, 90))
    for first, inside in ((0, 64), (64, 64), (128, 3)):  # as likely as they are long
        for turn in range(inside):
            rng = cast(np.random.Generator, Turning(first, turn))
            frames = sample_frames(store, 8, rng, (16, 16))
            np.add.at(chance, (frames[:, 0, 0, 0], frames[:, 0, 1, 0]), 1 / 8)
    assert [int((row > 0).sum()) for row in chance] == (lengths + 1).tolist()
    np.testing.assert_allclose(chance[chance > 0], 1.0)


def test_frames_for_the_tokenizer(tmp_path: Path) -> None:
    """As many as asked for, also of episodes shorter than a block; all of them can be drawn."""
    for steps in (3, 90):
        path = write_counting_store(tmp_path / f"store{steps}", episodes=2, steps=steps)
        store = RolloutStore(path)
        rng = np.random.default_rng(0)
        frames = sample_frames(store, 300, rng, (16, 16))
        assert frames.shape == (300, 16, 16, 3) and frames.dtype == np.uint8
        drawn = {step_of(frame[::2, ::2]) for frame in frames}
        assert drawn <= set(range(steps + 1)) and len(drawn) >= min(steps + 1, 60)
        assert steps in drawn  # the frame on which the episode ends
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
