"""Importers and exporters that need other libraries; `make test-data` installs them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import published_layouts as published
import pytest
from counting_env import reward_of, step_of
from counting_episodes import (
    DISCRETE,
    OBSERVATIONS,
    action_of,
    assert_same_episode,
    counting_episode,
)
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Tuple

from dreamenv.core.errors import MissingDependencyError, RolloutError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.exporters.minari import export_minari
from dreamenv.rollouts.importers.formats import recognised
from dreamenv.rollouts.importers.run import import_rollouts
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import Stands, model_time, per_frame
from dreamenv.rollouts.writer import RolloutWriter

EPISODES = [counting_episode(12, 1), counting_episode(20, 2, terminated=False)]


def imported(source: Path | str, out: Path, **said: Any) -> RolloutStore:
    import_rollouts(source, out, progress=False, **said)
    return RolloutStore(out)


def stored(path: Path, episodes: list[Episode]) -> RolloutStore:
    with RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE) as writer:
        for episode in episodes:
            writer.append(episode)
    return RolloutStore(path)


def minari_data(folder: Path, episodes: list[Episode], data_format: str = "hdf5") -> Path:
    """As Minari itself writes what its collector hands it: frames in a Dict, JPEG left on."""
    minari = pytest.importorskip("minari", reason="pip install 'dreamenv[minari]'")
    pytest.importorskip("h5py" if data_format == "hdf5" else "pyarrow")
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    space = Dict({"state": Box(-1, 1, (2,)), "view": Box(0, 255, (64, 64, 3), np.uint8)})
    folder.mkdir()
    storage = MinariStorage.new(folder / "data", space, DISCRETE, data_format=data_format)
    about = {"dataset_id": "mine/count-v0", "minari_version": minari.__version__}
    storage.update_metadata({**about, "algorithm_name": "counter"})
    for episode in episodes:
        rows = len(episode) + 1
        views = np.stack([published.bits(t) for t in range(rows)])
        buffer = EpisodeBuffer(
            seed=episode.seed,
            observations={"state": np.zeros((rows, 2), np.float32), "view": views},
            actions=episode.action,
            rewards=episode.reward.astype(np.float64),
            terminations=episode.terminated,
            truncations=episode.truncated,
            infos={"count": list(range(rows))},
        )
        storage.update_episodes([buffer])
    return folder


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_minari_counts(tmp_path: Path, data_format: str) -> None:
    source = minari_data(tmp_path / "data", EPISODES, data_format)
    assert recognised(str(source)) == "minari"
    done = import_rollouts(source, tmp_path / "store", progress=False)
    assert any("JPEG" in note for note in done.notes)
    store = RolloutStore(tmp_path / "store")
    assert store.seeds == [1, 2] and store.policies == ["counter"] * 2
    for i, sent in enumerate(EPISODES):
        read = store.read(i)
        window = model_time(read, DISCRETE)
        assert [published.step_of_bits(f) for f in window.frames] == list(range(len(sent) + 1))
        assert window.action.tolist() == [-1, *map(action_of, range(len(sent)))]
        assert window.reward.tolist() == [0, *map(reward_of, range(len(sent)))]
        assert (read.terminated == sent.terminated).all()
        assert (read.truncated == sent.truncated).all()
        assert read.info["count"].tolist() == list(range(len(sent) + 1))
    with pytest.raises(RolloutError, match="no image 'other' among the observations"):
        imported(source, tmp_path / "other", image_key="other")


def test_what_minari_gets_it_gives_back_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari", reason="pip install 'dreamenv[minari]'")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    episode = counting_episode(7, 5)
    episode.info = {"agent/pos": np.arange(16.0).reshape(8, 2), "count": np.arange(8)}
    where = Provenance("others", "3")
    second = dataclasses.replace(episode, seed=None, policy="", provenance=where)
    before = stored(tmp_path / "before", [episode, second])
    folder = export_minari(before, None, "mine/count-v0", progress=False)
    assert folder == tmp_path / "minari" / "mine" / "count-v0"
    assert [path.name for path in folder.parent.iterdir()] == ["count-v0"], "nothing is left over"
    import minari

    theirs = minari.load_dataset("mine/count-v0")[0]
    assert step_of(theirs.observations[3]) == 3 and theirs.actions[3] == action_of(3)
    store = imported("mine/count-v0", tmp_path / "store")
    assert (store.action_space, store.observation_space) == (DISCRETE, OBSERVATIONS)
    for i, sent in enumerate([episode, second]):
        assert_same_episode(store.read(i), sent)
        assert store.provenance[i] == Provenance("mine/count-v0", str(i), sent.provenance)
    monkeypatch.chdir(tmp_path)
    export_minari(before, Path("here"), "mine/count-v0", progress=False)
    assert imported(Path("here"), tmp_path / "again").identities == store.identities
    with pytest.raises(RolloutError, match="exists already"):
        export_minari(before, None, "mine/count-v0", progress=False)
    with pytest.raises(RolloutError, match="is no id"):
        export_minari(before, None, "no version", progress=False)


def test_nested_actions_go_to_minari_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari", reason="pip install 'dreamenv[minari]'")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    space = Dict({"turn": Box(-1, 1, (2,)), "do": Tuple([Discrete(3, start=1), MultiBinary(2)])})
    episode = counting_episode(4)
    episode.action = np.array([[1, 0, 1, t / 8, -1] for t in range(4)])  # do/0, do/1, turn
    with RolloutWriter(tmp_path / "before", "Counting-v0", OBSERVATIONS, space) as writer:
        writer.append(episode)
    export_minari(RolloutStore(tmp_path / "before"), None, "mine/nested-v0", progress=False)
    import minari

    theirs = minari.load_dataset("mine/nested-v0")[0].actions
    assert theirs["do"][0].tolist() == [1] * 4 and theirs["turn"][2].tolist() == [0.25, -1]
    store = imported("mine/nested-v0", tmp_path / "store")
    np.testing.assert_array_equal(store.read(0).action, episode.action)
    assert store.action_space == space


def test_a_damaged_minari_file_is_told_with_episode_and_field(tmp_path: Path) -> None:
    source = minari_data(tmp_path / "data", EPISODES)
    import h5py

    with h5py.File(source / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1"]["rewards"]
    with pytest.raises(RolloutError, match="episode 1: rewards cannot be read"):
        imported(source, tmp_path / "store")
    assert RolloutStore(tmp_path / "store").num_episodes == 1


@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_teco_minecraft_counts(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("av", reason="pip install 'dreamenv[video]'")
    source = published.teco_minecraft(tmp_path / "data", EPISODES, ending)
    store = imported(source, tmp_path / "store", format="teco-minecraft")
    assert ending == ".npy" or recognised(str(source)) == "teco-minecraft"
    for i, sent in enumerate(EPISODES):
        read = store.read(i)
        assert [published.step_of_bits(f) for f in read.observation] == list(range(len(sent) + 1))
        assert read.action.tolist() == [action_of(t) % 3 + 1 for t in range(len(sent))]
        assert read.truncated[-1] and not read.terminated.any() and not read.reward.any()
    assert store.action_space.start == 1


def test_a_video_cut_short_is_told(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="pip install 'dreamenv[video]'")
    source = published.teco_minecraft(tmp_path / "data", EPISODES)
    path = source / "train" / "0" / "000001.mp4"
    np.savez(path.with_suffix(".npz"), actions=np.array([0, *[1] * 30], np.int32))
    with pytest.raises(RolloutError, match="000001.mp4: there are 21 frames, but 31 actions"):
        imported(source, tmp_path / "store")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RolloutError, match="000001.mp4 is no video that can be read"):
        imported(source, tmp_path / "store")
    assert RolloutStore(tmp_path / "store").num_episodes == 1


@pytest.mark.parametrize("videos", [True, False])
def test_lerobot_counts(tmp_path: Path, videos: bool) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'dreamenv[lerobot]'")
    pytest.importorskip("av", reason="pip install 'dreamenv[lerobot]'")
    source = published.lerobot(tmp_path / "data", EPISODES, videos)
    assert recognised(str(source)) == "lerobot"
    done = import_rollouts(source, tmp_path / "store", progress=False)
    assert "2 last steps, 0 with a reward and 2 with an end" in done.notes[0]
    store = RolloutStore(tmp_path / "store")
    kept = imported(source, tmp_path / "kept", last_step="repeat")
    for i, sent in enumerate(EPISODES):
        read, count = store.read(i), len(sent)
        assert [published.step_of_bits(f) for f in read.observation] == list(range(count))
        assert (read.action[:, 0] * 8).tolist() == [action_of(t) for t in range(count - 1)]
        assert read.reward.tolist() == [reward_of(t) for t in range(count - 1)]
        assert read.info["observation.state"].tolist() == [[t, i] for t in range(count)]
        assert read.truncated[-1] and not read.terminated.any()
        whole = kept.read(i)
        assert whole.terminated[-1] == sent.terminated[-1] and len(whole) == count
        assert whole.reward.tolist() == sent.reward.tolist()
    assert isinstance(store.action_space, Box) and store.action_space.shape == (2,)


def test_lerobot_goes_on_in_the_middle_of_its_files(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'dreamenv[lerobot]'")
    pytest.importorskip("av", reason="pip install 'dreamenv[lerobot]'")
    episodes = [counting_episode(5 + i, i) for i in range(4)]
    source = published.lerobot(tmp_path / "data", episodes)
    assert imported(source, tmp_path / "store", episodes=2).num_episodes == 2
    store = imported(source, tmp_path / "store")
    assert store.lengths.tolist() == [4, 5, 6, 7]
    small = imported(source, tmp_path / "small", frame_size=(16, 16)).read(3).observation
    assert small.shape == (8, 16, 16, 3)
    assert [published.step_of_bits(frame) for frame in small] == list(range(8))
    frames = store.read(3).observation
    assert [published.step_of_bits(frame) for frame in frames] == list(range(8))
    mp4 = next(source.rglob("*.mp4"))
    published.video(mp4, [*range(5), *range(6)])  # the others' frames are missing
    with pytest.raises(RolloutError, match="file-000.mp4 ends after 0 of 7 frames of the episode"):
        imported(source, tmp_path / "other")
    assert RolloutStore(tmp_path / "other").num_episodes == 2


@pytest.mark.parametrize("stands", Stands)
@pytest.mark.parametrize("ending", [".npz", ".csv"])
def test_videos_with_actions_count(tmp_path: Path, stands: Stands, ending: str) -> None:
    pytest.importorskip("av", reason="pip install 'dreamenv[video]'")
    (sent,) = EPISODES[:1]
    path = published.video(tmp_path / "data" / "walk.mp4", range(len(sent) + 1))
    columns = {
        "action": per_frame(sent.action, stands),
        "reward": per_frame(sent.reward, stands),
        "terminated": per_frame(sent.terminated.astype(np.int64), stands),
    }
    if ending == ".npz":
        np.savez(path.with_suffix(ending), **columns)
    else:
        rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
        path.with_suffix(ending).write_text("\n".join([",".join(columns), *rows]) + "\n")
    with pytest.raises(RolloutError, match="say --actions leads"):
        imported(path.parent, tmp_path / "asked")
    read = imported(path.parent, tmp_path / "store", actions=stands.value).read(0)
    assert [published.step_of_bits(f) for f in read.observation] == list(range(len(sent) + 1))
    assert read.action.tolist() == sent.action.tolist()
    assert read.reward.tolist() == sent.reward.tolist() and read.terminated[-1]
    np.savez(path.with_suffix(".npz"), action=sent.action)  # a row less than frames: no question
    path.with_suffix(".csv").unlink(missing_ok=True)
    assert (
        imported(path.parent, tmp_path / "between").read(0).action.tolist() == sent.action.tolist()
    )


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for module in ("av", "minari", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "walk.mp4").write_bytes(b"")
    for format, extra in (("video", "video"), ("minari", "minari")):
        with pytest.raises(MissingDependencyError, match=rf"dreamenv\[{extra}\]"):
            imported(tmp_path, tmp_path / "store", format=format)
    with pytest.raises(MissingDependencyError, match=r"dreamenv\[minari\]"):
        export_minari(stored(tmp_path / "own", EPISODES), None, "a/b-v0")
