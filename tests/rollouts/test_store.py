"""What is appended is read back, whole or in stretches, and nothing else is accepted."""

from __future__ import annotations

import json
import multiprocessing

import numpy as np
import pytest
import zarr
from counting_episodes import (
    DISCRETE,
    OBSERVATIONS,
    SHAPE,
    assert_counts,
    assert_same_episode,
    counting_episode,
)
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiDiscrete, Text, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.arrays import (
    CHUNK_BYTES,
    CHUNK_FRAMES,
    SHARD_ROWS,
    chunk_length,
    create_array,
)
from dreamenv.rollouts.spaces import space_from_dict, space_to_dict
from dreamenv.rollouts.store import RolloutStore, RolloutWriter

LENGTHS = [1, 40, SHARD_ROWS - 1, SHARD_ROWS, 3, 2 * SHARD_ROWS + 5]


def writer_at(path):
    return RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE, {"note": "test"})


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("rollouts") / "store"
    episodes = [counting_episode(n, seed=i, terminated=i % 2 == 0) for i, n in enumerate(LENGTHS)]
    with writer_at(path) as writer:
        for episode in episodes:
            writer.append(episode)
    return path, episodes


def test_whole_episodes_come_back(stored):
    path, episodes = stored
    store = RolloutStore(path)
    assert (store.env_id, store.num_episodes) == ("Counting-v0", len(LENGTHS))
    assert store.lengths.tolist() == LENGTHS and store.num_steps == sum(LENGTHS)
    assert store.observation_space == OBSERVATIONS and store.action_space == DISCRETE
    assert store.seeds == list(range(len(LENGTHS)))
    assert store.policies == ["counting"] * len(LENGTHS)
    assert store.metadata == {"note": "test"}
    for index, episode in enumerate(episodes):
        assert_same_episode(store.read(index), episode)
        assert store.returns[index] == episode.reward.sum(dtype=np.float64)
        assert store.reward_events[index] == np.count_nonzero(episode.reward)


@settings(max_examples=40)
@given(data=st.data())
def test_a_stretch_is_the_slice_of_the_episode(stored, data):
    path, episodes = stored
    index = data.draw(st.integers(0, len(LENGTHS) - 1))
    start = data.draw(st.integers(0, LENGTHS[index]))
    stop = data.draw(st.integers(start, min(LENGTHS[index], start + 90)))
    stretch = RolloutStore(path).read(index, start, stop)
    assert_counts(stretch.observation, start)
    whole = episodes[index]
    for name in ("action", "reward", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(stretch, name), getattr(whole, name)[start:stop])


def test_a_window_decodes_only_its_chunks(stored, monkeypatch):
    path, _ = stored
    store = RolloutStore(path)
    store.read(5, 0, 0)  # fetches the small fields
    decoded = []
    from zarr.codecs import ZstdCodec

    original = ZstdCodec._decode_single

    async def counted(self, chunk_bytes, chunk_spec):
        decoded.append(chunk_spec.shape[0])
        return await original(self, chunk_bytes, chunk_spec)

    monkeypatch.setattr(ZstdCodec, "_decode_single", counted)
    window = 64
    store.read(5, 700, 700 + window - 1)
    assert 0 < sum(decoded) <= window + 2 * CHUNK_FRAMES


def test_chunk_lengths(tmp_path):
    assert chunk_length(64 * 64 * 3) == CHUNK_FRAMES
    assert chunk_length(4) == SHARD_ROWS
    assert 1 < chunk_length(360 * 640 * 3) < CHUNK_FRAMES  # 0.7 MB a frame
    assert chunk_length(2 * CHUNK_BYTES) == 1
    large = create_array(tmp_path, (360, 640, 3), np.dtype(np.uint8))
    assert large.shards == (SHARD_ROWS, 360, 640, 3) and large.chunks[0] < CHUNK_FRAMES


@pytest.mark.parametrize("bounds", [(0, 41), (-1, 5), (7, 6)])
def test_a_stretch_outside_the_episode_is_refused(stored, bounds):
    with pytest.raises(RolloutError, match="observations 0..40"):
        RolloutStore(stored[0]).read(1, *bounds)
    with pytest.raises(RolloutError, match="episodes 0..5"):
        RolloutStore(stored[0]).read(6)


def test_box_actions_gray_frames_and_infos(tmp_path):
    space = Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32))
    episode = counting_episode(9, shape=(8, 8, 1))
    episode.action = np.linspace(-1, 1, 18, dtype=np.float32).reshape(9, 2)
    episode.info = {"place": np.arange(20.0).reshape(10, 2), "room": np.arange(10)}
    with RolloutWriter(tmp_path, "Gray-v0", Box(0, 255, (8, 8, 1), np.uint8), space) as writer:
        writer.append(episode)
    store = RolloutStore(tmp_path)
    assert store.action_space == space
    assert_same_episode(store.read(0), episode)
    part = store.read(0, 4, 6)
    np.testing.assert_array_equal(part.info["place"], episode.info["place"][4:7])


def test_a_store_is_continued_and_read_while_written(tmp_path):
    episodes = [counting_episode(5 + i, seed=i) for i in range(6)]
    for number, episode in enumerate(episodes):
        with writer_at(tmp_path) as writer:
            assert writer.num_episodes == number
            writer.append(episode)
            store = RolloutStore(tmp_path)  # the writer is still open
            assert store.num_episodes == number + 1
            for old, sent in zip(range(number + 1), episodes, strict=False):
                assert_same_episode(store.read(old), sent)


def test_one_writer_at_a_time(tmp_path):
    with writer_at(tmp_path), pytest.raises(RolloutError, match="another process is writing"):
        writer_at(tmp_path)
    writer_at(tmp_path).close()


@pytest.mark.parametrize(
    ("env_id", "observations", "actions", "what"),
    [
        ("Other-v0", OBSERVATIONS, DISCRETE, "environment"),
        ("Counting-v0", Box(0, 255, (9, 8, 3), np.uint8), DISCRETE, "observation space"),
        ("Counting-v0", OBSERVATIONS, Discrete(6), "action space"),
    ],
)
def test_another_environment_is_refused(stored, env_id, observations, actions, what):
    with pytest.raises(RolloutError, match=f"holds rollouts with {what}"):
        RolloutWriter(stored[0], env_id, observations, actions)


@pytest.mark.parametrize(
    "space",
    [
        Dict({"image": OBSERVATIONS}),
        Box(0.0, 1.0, SHAPE),
        Box(-1.0, 1.0, (4,)),
        Box(0, 255, (8, 8), np.uint8),
        Box(0, 255, (3, 8, 8), np.uint8),
    ],
)
def test_spaces_that_are_no_images_are_refused(tmp_path, space):
    with pytest.raises(RolloutError, match="rollouts need .*wrapper"):
        RolloutWriter(tmp_path / "s", "X-v0", space, DISCRETE)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "space",
    [Box(0, 255, (7, 7, 3), np.uint8), Box(0, 10, (16, 16, 3), np.uint8)],
)
def test_codes_that_are_declared_as_images_are_refused(tmp_path, space):
    with pytest.raises(RolloutError, match="codes, not a picture.*RGBImgPartialObsWrapper"):
        RolloutWriter(tmp_path / "s", "X-v0", space, DISCRETE)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Graph(Discrete(2), None), "Discrete, MultiDiscrete, .* Tuple or Dict.*TransformAction"),
        (Dict({"say": Text(3)}), "in its part 'say', .*number what is chosen"),
        (Tuple([Discrete(2), Box(-np.inf, 1, (2,))]), "in its part '1', the box has no bounds"),
        (Dict({}), "consist of nothing"),
        (Discrete(10**9), "are too many"),
        (MultiDiscrete([2, 2**16]), "are too many"),
        (Tuple([Discrete(2**16), Discrete(2)]), "choices are too many"),
        (Box(-np.inf, np.inf, (2,)), r"no bounds on some side.*Box\(-1.0, 1.0, \(2,\)\)"),
        (Box(0, np.inf, (1,)), "no bounds on some side"),
        (Box(-np.inf, np.inf, (1,), np.int64), "no bounds on some side"),
        (Box(-3e38, 3e38, (1,), np.float32), "no bounds on some side"),
        (Box(np.float32([0, 1]), np.float32([1, 1])), "only one value is allowed"),
    ],
)
def test_actions_that_cannot_be_dreamt_are_refused(tmp_path, space, message):
    with pytest.raises(RolloutError, match=message):
        RolloutWriter(tmp_path / "s", "X-v0", OBSERVATIONS, space)
    assert not (tmp_path / "s").exists()


def _damage(episode, field, step, value):
    getattr(episode, field)[step] = value
    return episode


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: _damage(e, "reward", 3, np.nan), r"episode 1 \(seed 7\), step 3: .*nan"),
        (lambda e: _damage(e, "reward", 4, np.inf), r"step 4: the reward is inf"),
        (lambda e: _damage(e, "action", 2, 5), r"step 2: Discrete\(5\) does not contain action 5"),
        (lambda e: _damage(e, "truncated", 1, True), r"step 1: the episode continues after"),
        (lambda e: setattr(e, "observation", e.observation / 255.0), r"step 0: .*not uint8"),
        (lambda e: setattr(e, "observation", e.observation[:-1]), r"observation has shape"),
        (lambda e: setattr(e, "action", e.action[:-1]), r"action has shape"),
        (lambda e: setattr(e, "reward", e.reward[:0]), r"has no steps"),
        (lambda e: e.info.update(name=np.array(["x"] * 7)), r"info 'name' must be numeric"),
    ],
)
def test_a_malformed_episode_is_refused_and_the_rest_stays(tmp_path, change, message):
    first, bad = counting_episode(4), counting_episode(6, seed=7)
    change(bad)
    with writer_at(tmp_path) as writer:
        writer.append(first)
        with pytest.raises(RolloutError, match=message):
            writer.append(bad)
        writer.append(first)
    store = RolloutStore(tmp_path)
    assert store.num_episodes == 2
    assert_same_episode(store.read(1), first)


def test_absent_foreign_and_newer_stores_are_refused(tmp_path):
    with pytest.raises(RolloutError, match="no rollout store at .*collect --out"):
        RolloutStore(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RolloutError, match="no rollout store"):
        RolloutStore(tmp_path)
    with pytest.raises(RolloutError, match="not empty .*notes.txt"):
        writer_at(tmp_path)
    with pytest.raises(RolloutError, match="is a file"):
        writer_at(tmp_path / "notes.txt")
    for text in ("", "{}\n", "hello\n", "[1]\n"):
        (tmp_path / "episodes.jsonl").write_text(text)
        with pytest.raises(RolloutError, match="wrong folder"):
            RolloutStore(tmp_path)
    header = {"format": "dreamenv-rollouts", "version": 99}
    (tmp_path / "episodes.jsonl").write_text(json.dumps(header) + "\n")
    with pytest.raises(RolloutError, match="format version 99"):
        RolloutStore(tmp_path)


def _copy(stored, tmp_path):
    import shutil

    return shutil.copytree(stored[0], tmp_path / "copy")


def test_a_truncated_or_incomplete_copy_is_refused(stored, tmp_path):
    path = _copy(stored, tmp_path)
    shard = path / "observation" / "c" / "1" / "0" / "0" / "0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(RolloutError, match="observation of episode 1 is missing or cut short"):
        RolloutStore(path)
    shard.unlink()
    with pytest.raises(RolloutError, match="observation of episode 1 is missing or cut short"):
        RolloutStore(path)
    shard.write_bytes(whole)
    RolloutStore(path)
    (path / "reward" / "zarr.json").unlink()
    with pytest.raises(RolloutError, match="incomplete"):
        RolloutStore(path)


def test_flipped_bytes_are_noticed(stored, tmp_path):
    path = _copy(stored, tmp_path)
    shard = path / "observation" / "c" / "2" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[200:260] = bytes(60)
    shard.write_bytes(data)
    store = RolloutStore(path)
    with pytest.raises(RolloutError, match="observation of episode 2 cannot be decoded"):
        store.read(2)
    store.read(3)


def test_a_damaged_journal_line_is_named(stored, tmp_path):
    path = _copy(stored, tmp_path)
    lines = (path / "episodes.jsonl").read_text().splitlines()
    lines[3] = lines[3][:20]
    (path / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RolloutError, match="line 4 is damaged.*first 2 episodes"):
        RolloutStore(path)


def test_other_tools_can_read_the_arrays(stored):
    path, episodes = stored
    observation = zarr.open_array(path / "observation", mode="r")
    assert observation.dtype == np.uint8
    np.testing.assert_array_equal(observation[SHARD_ROWS], episodes[1].observation[0])


def _frames_of_a_child(path, connection):
    connection.send(RolloutStore(path).read(1, 3, 5).observation)


def test_reading_after_a_fork(stored):
    """Data loaders fork; a store used before must not hang in the child."""
    RolloutStore(stored[0]).read(1)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_frames_of_a_child, args=(stored[0], theirs))
    child.start()
    assert ours.poll(60), "the child hangs"
    assert_counts(ours.recv(), 3)
    child.join(timeout=10)


@pytest.mark.parametrize(
    "space",
    [
        Discrete(6),
        Discrete(3, start=-1),
        Box(0, 255, (64, 64, 3), np.uint8),
        Box(-np.inf, np.inf, (2, 3), np.float32),
        Box(np.array([-1, 0], np.float32), np.array([1, 0.1], np.float32)),
        Box(-np.inf, 1.5, (1,), np.float64),
    ],
)
def test_spaces_survive_plain_data(space):
    assert space_from_dict(json.loads(json.dumps(space_to_dict(space)))) == space
