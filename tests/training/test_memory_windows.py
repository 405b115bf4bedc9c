"""Windows for training to remember: strided, retraced, growing; poses in the place of actions."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_env import reward_of, step_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.core.errors import RolloutError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.spawn_drawing import save_spawns
from dreamenv.dream.spawns import load_spawns
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.data import LatentWindows
from dreamenv.training.fit_config import model_config
from dreamenv.training.held_out import held_out_clips
from dreamenv.training.loop import Stage
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import checkpoint_folder, load_world_model
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from tests.conftest import write_counting_store
from tests.training.conftest import MakeRun
from tests.training.readable_latents import number_model, numbers
from tests.world_model.models import tiny_config

KEYS = ("agent_pos", "agent_dir")


def make_windows(store: Path, folder: Path, window: int, **more: Any) -> tuple[LatentWindows, Any]:
    model = number_model("pose")
    cache = folder / "latents"
    return LatentWindows(RolloutStore(store), model, cache, window, pose=KEYS, **more), model


@functools.cache
def recorded_poses(store: Path, episode: int) -> np.ndarray:
    """(T+1, 4), as the recorder wrote them."""
    info = RolloutStore(store).read(episode).info
    return np.concatenate([info["agent_pos"], info["agent_dir"]], 1)


def assert_follows_the_store(store: Path, batch: Batch, frames: np.ndarray, stride: int) -> None:
    """Poses are those of the frames, rewards what was received since the frame before."""
    received = np.array([reward_of(step) for step in range(60)])
    for row, count in enumerate(batch.valid.sum(1).tolist()):
        seen = frames[row, :count]
        steps = seen[:, 0]
        assert len(set(seen[:, 1])) == 1  # of one episode; here its index is its seed
        poses = recorded_poses(store, int(seen[0, 1]))
        assert np.array_equal(batch.actions[row, :count].numpy(), poses[steps])
        rewards = batch.rewards[row, :count].numpy()
        for t in range(1, int(np.isfinite(rewards).sum())):
            assert rewards[t] == received[steps[t] - stride : steps[t]].sum()
        assert np.array_equal(batch.terminated[row, :count].numpy(), steps == 60)


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_every_so_many_frames_with_their_poses_and_what_was_received_between(
    stride: int, tmp_path: Path, pose_store: Path
) -> None:
    data, model = make_windows(pose_store, tmp_path, 5, stride=stride)
    batch = data.batch(500, np.random.default_rng(0))
    frames, valid = numbers(data, model, batch), batch.valid.numpy()
    expected = frames[:, :1, 0] + stride * np.arange(5)
    assert np.array_equal(frames[:, :, 0][valid], expected[valid])
    assert_follows_the_store(pose_store, batch, frames, stride)
    assert not batch.rewards.isnan().any()
    assert (frames[:, 0, 0].min(), frames[:, :, 0].max()) == (0, 60)
    # Fewer than five only where the next one would lie outside the episode.
    short = ~valid.all(1)
    last = np.where(valid, frames[:, :, 0], 0).max(1)
    assert short.any() and ((last > 60 - stride) | (frames[:, 0, 0] < stride))[short].all()


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("window", [2, 8])
def test_retracing_shows_the_same_frames_from_the_same_poses_backwards(
    window: int, stride: int, tmp_path: Path, pose_store: Path
) -> None:
    data, model = make_windows(pose_store, tmp_path, 8, stride=stride, retrace=1.0)
    batch = data.batch(128, np.random.default_rng(0), window)
    frames, counts = numbers(data, model, batch), batch.valid.sum(1).tolist()
    assert frames.shape == (128, window, 2) and max(counts) == window
    assert (window == 2) == (min(counts) == window)
    for row, count in enumerate(counts):
        half = count // 2
        there = frames[row, 0, 0] + stride * np.arange(half)
        assert np.array_equal(frames[row, :half, 0], there)
        for values in (batch.latents[row], batch.actions[row]):
            assert torch.equal(values[half:count], values[:half].flip(0))
        rewards = batch.rewards[row]
        assert rewards[half:].isnan().all() and rewards[:half].isfinite().all()
    assert_follows_the_store(pose_store, batch, frames, stride)
    assert frames[:, 0, 0].min() == 0 and frames[:, :, 0].max() >= 59


def test_a_share_of_rows_retraces(tmp_path: Path, pose_store: Path) -> None:
    data, model = make_windows(pose_store, tmp_path, 6, retrace=0.3)
    batch = data.batch(2000, np.random.default_rng(0))
    frames = numbers(data, model, batch)[:, :, 0]
    back = batch.rewards.isnan().any(1).numpy()
    for row, count in enumerate(batch.valid.sum(1).tolist()):
        assert back[row] == (frames[row, count - 1] == frames[row, 0])
        assert back[row] or (np.diff(frames[row, :count]) == 1).all()
    assert back.mean() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("scheme", ["diffusion_forcing", "clean_state"])
def test_what_retracing_receives_is_not_scored(scheme: str) -> None:
    """Unknown rewards change nothing, nor does whether the episode is said to end there."""
    torch.manual_seed(0)
    model = WorldModel(tiny_config())
    shape = (4, 6)
    rewards = torch.randint(0, 2, shape).float()
    rewards[:, 3:] = torch.nan
    latents = torch.randn(*shape, 4, 3)
    data = Batch(latents, torch.zeros(shape).long(), rewards, torch.zeros(shape).bool())
    ended = dataclasses.replace(data, terminated=torch.arange(6).expand(shape) >= 3)
    objective = ObjectiveConfig(scheme=scheme, clean_prefix=0.0)
    one, other = (model.loss(x, objective, torch.Generator().manual_seed(0)) for x in (data, ended))
    for name, value in one.items():
        assert value.isfinite() and torch.equal(value, other[name])


@settings(max_examples=60)
@given(
    first=st.integers(2, 40), window=st.integers(2, 300), steps=st.integers(1, 500),
    growth=st.floats(0, 1),
)  # fmt: skip
def test_windows_double_until_they_have_their_full_length(
    first: int, window: int, steps: int, growth: float
) -> None:
    first = min(first, window)
    stage = StageConfig(steps=steps, batch=1, learning_rate=1.0)
    run = TrainConfig(
        "", "", "", window=window, window_from=first, window_growth=growth, dynamics=stage
    )
    lengths = [run.curriculum.window_at(step) for step in range(steps)]
    growing = growth * steps
    assert lengths[0] == (first if growing else window)
    for step, length in enumerate(lengths):
        assert step < growing or length == window
    shown = [length for i, length in enumerate(lengths) if not i or length != lengths[i - 1]]
    doublings = [first * 2**i for i in range(10) if first * 2**i < window] + [window]
    assert [length for length in doublings if length in shown] == shown
    if growing >= len(doublings) - 1 >= 1:  # there is an update for every length but the last
        assert shown[: len(doublings) - 1] == doublings[:-1]
        times = [lengths.count(length) for length in doublings[:-1]]
        assert max(times) - min(times) <= 1


def test_growing_windows_are_cut_once_they_are_longer_than_a_segment() -> None:
    stage = StageConfig(steps=100, batch=1, learning_rate=1.0)
    run = TrainConfig("", "", "", window=64, window_from=8, segments=4, dynamics=stage)
    shown = run.curriculum
    found = {shown.window_at(step): shown.segments_at(step) for step in range(100)}
    assert found == {8: 1, 16: 1, 32: 2, 64: 4}


def test_windows_keep_their_length_by_default() -> None:
    assert {TrainConfig("", "", "").curriculum.window_at(step) for step in (0, 1, 20000)} == {48}


def test_every_update_sees_as_many_frames(
    make_run: MakeRun, debug_checkpoint: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []

    def watched(self: Stage, batches: list[Batch]) -> tuple[dict[str, Any], float]:
        (batch,) = batches  # of a single process
        shapes.append(tuple(batch.rewards.shape))
        return {"total": 0.0}, 0.0

    monkeypatch.setattr(Stage, "_update", watched)
    stage = StageConfig(steps=9, batch=2, learning_rate=1e-3)
    source = str(debug_checkpoint)
    train_world_model(make_run(window=12, window_from=3, window_growth=2 / 3, dynamics=stage,
                   tokenizer_from=source))  # fmt: skip
    assert shapes == [(8, 3)] * 3 + [(4, 6)] * 3 + [(2, 12)] * 3


def test_one_file_of_latents_serves_actions_and_poses_of_any_kind(
    tmp_path: Path, pose_store: Path
) -> None:
    store, cache = RolloutStore(pose_store), tmp_path / "latents"

    def opened(conditioning: str, keys: tuple[str, ...] = KEYS, **size: int) -> tuple[int, Any]:
        """Frames that had to be encoded, and what stands where actions do."""
        model: Any = number_model(conditioning)
        model.config = dataclasses.replace(model.config, **size)
        data = LatentWindows(store, model, cache, 5, pose=keys)
        return model.tokenizer.encoded, data.actions

    assert opened("action")[0] == 3 * 61
    encoded, poses = opened("pose")
    expected = np.concatenate([recorded_poses(pose_store, i) for i in range(3)])
    assert encoded == 0 and np.array_equal(poses, expected)
    encoded, poses = opened("pose", ("agent_dir",))
    assert encoded == 0 and np.array_equal(poses, expected[:, 2:])
    encoded, actions = opened("action", ())
    assert encoded == 0 and actions.ndim == 1 and actions[0] == -1
    assert opened("action", frame_size=(32, 32))[0] == 3 * 61  # other pictures
    assert opened("action", frame_size=(32, 32))[0] == 0


def test_poses_are_read_without_the_frames(
    pose_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RolloutStore(pose_store)
    expected = recorded_poses(pose_store, 1)
    rows = RolloutStore._rows

    def without_frames(self: RolloutStore, name: str, *where: int) -> np.ndarray:
        assert name != "observation"
        return rows(self, name, *where)

    monkeypatch.setattr(RolloutStore, "_rows", without_frames)
    poses = read_poses(store, 1, KEYS)
    assert poses.dtype == np.float32 and np.array_equal(poses, expected)


@pytest.fixture(scope="module")
def wide_store(tmp_path_factory: pytest.TempPathFactory, pose_store: Path) -> Path:
    """Two episodes of 110 steps seen from further out than any of `pose_store`."""
    folder = tmp_path_factory.mktemp("wide")
    source = RolloutStore(write_counting_store(folder / "near", 2, steps=110, poses=True))
    with RolloutWriter(
        folder / "store", source.env_id, source.observation_space, source.action_space
    ) as writer:
        for i in range(2):
            episode = source.read(i)
            info = episode.info | {"agent_pos": 2.7 * episode.info["agent_pos"] - 4}
            writer.append(dataclasses.replace(episode, info=info))
    return folder / "store"


def test_the_box_of_poses_holds_those_of_both_stores(pose_store: Path, wide_store: Path) -> None:
    def box(data: Path, held_out: Path) -> list[tuple[float, float]]:
        run = TrainConfig(str(data), str(held_out), "", preset="debug", conditioning="pose")
        return list(model_config(run, RolloutStore(data), RolloutStore(held_out)).actions.bounds)

    near, wide = box(pose_store, pose_store), box(wide_store, wide_store)
    assert near == [(1, 5), (1, 5), (-1, 1), (-1, 1)]
    assert wide[0] == (-2, 10)
    assert box(pose_store, wide_store) == box(wide_store, pose_store) == wide
    for store, bounds in ((pose_store, near), (wide_store, wide)):
        poses = np.concatenate([recorded_poses(store, i) for i in range(2)])
        low, high = np.array(bounds).T
        assert ((low <= poses) & (poses <= high)).all()


def test_held_out_clips_under_poses(wide_store: Path) -> None:
    clips = held_out_clips(RolloutStore(wide_store), (64, 64), stride=2, pose=KEYS)
    assert clips["frames"].shape == (16, 48, 64, 64, 3) and clips["actions"].shape == (16, 48, 4)
    for frames, poses in zip(clips["frames"].numpy(), clips["actions"].numpy(), strict=True):
        steps = [step_of(frame[::8, ::8]) for frame in frames]
        assert np.diff(steps).tolist() == [2] * 47
        assert np.array_equal(poses, recorded_poses(wide_store, int(frames[0, -1, -1, 0]))[steps])


@pytest.fixture(scope="module")
def bundled() -> Path:
    return checkpoint_folder("bundled:memory_maze_9x9")


def assert_same_tokenizer(one: Path, other: Path) -> None:
    """Bit by bit, but for the standardisation, which is of the run's own frames."""
    left, right = (dict(load_world_model(f).tokenizer.named_parameters()) for f in (one, other))
    assert len(left) > 10 and all(torch.equal(left[name], right[name]) for name in right)


@pytest.mark.parametrize("source", ["folder", "bundled"])
def test_the_tokenizer_of_another_model_is_taken_as_it_is(
    source: str, make_run: MakeRun, debug_checkpoint: Path, bundled: Path, quick: None
) -> None:
    folder = debug_checkpoint if source == "folder" else bundled
    given_as = str(folder) if source == "folder" else "bundled:memory_maze_9x9"
    run = make_run(tokenizer_from=given_as)
    assert_same_tokenizer(train_world_model(run), folder)
    assert load_world_model(run.out).config.tokenizer == load_world_model(folder).config.tokenizer
    assert sorted(p.name for p in (Path(run.out) / "training").iterdir()) == [
        "dynamics.pt", "latents",
    ]  # fmt: skip
    stages = {json.loads(line)["stage"] for line in (Path(run.out) / "metrics.jsonl").open()}
    assert stages == {"dynamics"}
    model = load_world_model(run.out)
    frames = RolloutStore(run.data).read(0).observation
    pixels = torch.from_numpy(frames).repeat_interleave(8, 1).repeat_interleave(8, 2)
    latents = model.tokenizer.encode(pixels[None] / 255)
    assert float(latents.mean().abs()) < 0.2 and float(latents.std()) == pytest.approx(1, abs=0.2)


def test_a_model_of_poses_is_dreamt_by_looking_from_places(
    make_run: MakeRun, wide_store: Path, pose_store: Path, debug_checkpoint: Path,
    quick: None,
) -> None:  # fmt: skip
    run = make_run(
        data=str(pose_store), held_out=str(wide_store), tokenizer_from=str(debug_checkpoint),
        conditioning="pose", stride=2, retrace=0.5, spawn_frames=20, spawns=5,
        objective=ObjectiveConfig(scheme="diffusion_forcing"),
    )  # fmt: skip
    assert train_world_model(run) == Path(run.out)
    spawns = load_spawns(run.out)
    assert spawns.actions.shape == (5, 20, 4) and spawns.actions.dtype == np.float32
    for i, source in enumerate(spawns.sources):
        steps = source["start"] + 2 * np.arange(20)
        assert [step_of(frame[::8, ::8]) for frame in spawns.frames[i]] == steps.tolist()
        assert np.array_equal(spawns.actions[i], recorded_poses(wide_store, source["seed"])[steps])
    env = DreamEnv(run.out, dtype="float32")
    assert all(pose in env.action_space for pose in spawns.actions.reshape(-1, 4))
    seen = []
    for pose in spawns.actions[0, :3]:
        env.reset(seed=0)
        frame, reward, terminated, truncated, _ = env.step(pose)
        assert frame in env.observation_space and np.isfinite(reward)
        seen.append(frame)
    env.reset(seed=0)
    assert np.array_equal(env.step(spawns.actions[0, 0])[0], seen[0])
    assert not np.array_equal(seen[0], seen[1]) or not np.array_equal(seen[0], seen[2])
    with pytest.raises(RolloutError, match="holds no info 'agent_pos', so poses are unknown"):
        save_spawns(run.out, write_counting_store(Path(run.out) / "s"), 2, 5)
