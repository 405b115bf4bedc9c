"""Every importer puts actions, rewards and ends beside the frames that they belong to."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import published_layouts as published
import pytest
from counting_env import frame_of, reward_of, step_of
from counting_episodes import (
    DISCRETE,
    OBSERVATIONS,
    action_of,
    assert_same_episode,
    counting_episode,
)
from gymnasium.spaces import Box, Discrete

from dreamenv.cli import main
from dreamenv.cli.import_ import Options
from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.exporters.npz import export_npz
from dreamenv.rollouts.importers.formats import FORMATS, recognised
from dreamenv.rollouts.importers.run import import_rollouts
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import describe
from dreamenv.rollouts.timing import Stands, between, model_time, per_frame
from dreamenv.rollouts.writer import RolloutWriter

EPISODES = [counting_episode(12, 1), counting_episode(20, 2, terminated=False)]
INFOS = {"maze_layout", "agent_pos"}
Write = Callable[[Path, list[Episode]], Path]


def stored(path: Path, episodes: list[Episode]) -> RolloutStore:
    with RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE) as writer:
        for episode in episodes:
            writer.append(episode)
    return RolloutStore(path)


def exported(folder: Path, episodes: list[Episode]) -> Path:
    export_npz(stored(folder.with_name("before"), episodes), folder, progress=False)
    return folder


CASES: dict[str, Write] = {
    "npz": exported,
    "memory-maze": published.memory_maze,
    "teco-dmlab": published.teco_dmlab,
    "dreamer": published.dreamer_v2,
    "dreamer chunks": published.dreamer_v3,
}


def imported(source: Path, out: Path, **said: Any) -> RolloutStore:
    import_rollouts(source, out, progress=False, **said)
    return RolloutStore(out)


@pytest.mark.parametrize("case", CASES)
def test_the_counting_episodes_come_through(tmp_path: Path, case: str) -> None:
    source = CASES[case](tmp_path / "data", EPISODES)
    assert recognised(str(source)) == case.split()[0]
    store = imported(source, tmp_path / "store")
    assert store.num_episodes == 2
    for i, sent in enumerate(EPISODES):
        window = model_time(store.read(i), Discrete(3) if "dmlab" in case else DISCRETE)
        expected = [action_of(t) for t in range(len(sent))]
        if "dmlab" in case:  # three actions, no rewards, no ends
            expected = [action % 3 for action in expected]
        else:
            assert window.reward.tolist() == [0, *map(reward_of, range(len(sent)))]
            assert window.terminated[-1] == sent.terminated[-1]
        assert [step_of(frame) for frame in window.frames] == list(range(len(sent) + 1))
        assert window.action.tolist() == [-1, *expected]
        assert store.read(i).truncated[-1] == (sent.truncated[-1] or "dmlab" in case)
        assert (store.seeds[i] is not None) == (case == "npz"), "no seed is invented"


@pytest.mark.parametrize("stands", Stands)
def test_rows_beside_frames_belong_to_the_steps_between_them(stands: Stands) -> None:
    steps = np.arange(1, 6)
    rows = per_frame(steps, stands)
    assert rows.tolist() == ([0, 1, 2, 3, 4, 5] if stands is Stands.LEADS else [1, 2, 3, 4, 5, 0])
    np.testing.assert_array_equal(between(rows, 6, stands), steps)
    np.testing.assert_array_equal(between(steps, 6, stands), steps)  # they stand between already
    with pytest.raises(ValueError, match="4 rows do not belong to 6 frames"):
        between(steps[:4], 6, stands)


def test_what_npz_writes_it_reads_exactly(tmp_path: Path) -> None:
    episode = counting_episode(7, 5)
    episode.info = {"agent/pos": np.arange(16.0).reshape(8, 2), "count": np.arange(8)}
    where = Provenance("others", "3")
    episodes = [episode, dataclasses.replace(EPISODES[1], seed=None, policy="", provenance=where)]
    store = imported(exported(tmp_path / "data", episodes), tmp_path / "store")
    for i, sent in enumerate(episodes):
        assert_same_episode(store.read(i), sent)
        file = Provenance(str(tmp_path / "data"), f"episode-{i:06d}.npz", sent.provenance)
        assert store.provenance[i] == file
    assert store.action_space == DISCRETE and store.env_id == "Counting-v0"


@pytest.mark.parametrize("said", [{}, {"actions": "leads"}])
def test_actions_of_a_box_come_through(tmp_path: Path, said: dict[str, str]) -> None:
    episode = counting_episode(9)
    episode.action = np.linspace(0.1, 3.0, 18, dtype=np.float32).reshape(9, 2)
    source = published.dreamer_v2(tmp_path / "data", [episode], box=True)
    store = imported(source, tmp_path / "store", **said)
    np.testing.assert_array_equal(store.read(0).action, episode.action)
    assert store.action_space == Box(episode.action.min(0), episode.action.max(0))


def test_where_actions_stand_is_asked_if_nothing_shows_it(tmp_path: Path) -> None:
    source = published.dreamer_v2(tmp_path / "data", EPISODES)
    for path in source.iterdir():
        arrays = dict(np.load(path))
        arrays["action"][0, 0] = 1
        np.savez_compressed(path, **arrays)
    with pytest.raises(RolloutError, match="say --actions leads if row t led to frame t"):
        imported(source, tmp_path / "store")
    store = imported(source, tmp_path / "store", actions="follows", env="Counting-v0")
    assert store.read(0).action[0] == 0 and store.metadata["import"]["actions"] == "follows"


def test_last_steps_can_be_kept(tmp_path: Path) -> None:
    source = published.teco_dmlab(tmp_path / "data", EPISODES)
    done = import_rollouts(source, tmp_path / "dropped", progress=False)
    assert "2 last steps" in done.notes[0] and "--last-step repeat" in done.notes[0]
    kept = imported(source, tmp_path / "kept", last_step="repeat").read(0)
    assert len(kept) == 13 and kept.action[-1] == 2
    np.testing.assert_array_equal(kept.observation[-1], kept.observation[-2])


def test_infos_and_ids_are_kept(tmp_path: Path) -> None:
    source = published.memory_maze(tmp_path / "data", EPISODES)
    store = imported(source, tmp_path / "store", policy="waypoints")
    assert set(store.read(0).info) == INFOS and store.env_id == "MemoryMaze-9x9-v0"
    assert store.policies == ["waypoints"] * 2
    names = sorted(path.name for path in source.iterdir())
    assert store.provenance == [Provenance(str(source), name) for name in names]
    assert store.metadata["import"]["data"] == {"actions": "leads", "rewards": "leads"}
    assert str(source) in describe(store)


BROKEN = {
    "a reward that is no number": ("reward", (3,), np.nan, r"npz: reward\[3\] is no finite reward"),
    "an action that is none": ("action", (4,), 1.0, r"npz: action\[4\] is no one-hot vector"),
    "a flag that is none": ("terminal", (5,), 3, r"npz: terminal\[5\] is neither true nor false"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_named_with_field_and_index(tmp_path: Path, what: str) -> None:
    source = published.memory_maze(tmp_path / "data", [*EPISODES, counting_episode(5, 3)])
    path = sorted(source.iterdir())[1]
    arrays = dict(np.load(path))
    whole = dict(arrays)
    field, index, value, message = BROKEN[what]
    arrays[field] = arrays[field].astype(np.float64)
    arrays[field][index] = value
    np.savez_compressed(path, **arrays)
    out = tmp_path / "store"
    with pytest.raises(RolloutError, match=f"{path.stem}.{message}.*The 1 episodes .* are safe"):
        imported(source, out)
    assert RolloutStore(out).num_episodes == 1
    done = import_rollouts(source, out, skip_broken=True, progress=False)
    assert (done.known, done.episodes, len(done.broken)) == (1, 1, 1)
    np.savez_compressed(path, **whole)  # mended
    done = import_rollouts(source, out, progress=False)
    assert (done.known, done.episodes) == (2, 1)
    assert sorted(RolloutStore(out).lengths.tolist()) == [5, 12, 20]


def test_files_cut_short_or_of_another_layout_are_refused(tmp_path: Path) -> None:
    source = published.dreamer_v2(tmp_path / "data", EPISODES)
    first, second = sorted(source.iterdir())
    arrays = dict(np.load(second))
    np.savez_compressed(second, **{**arrays, "action": arrays["action"][:-2]})
    with pytest.raises(RolloutError, match=r"action has 19 rows, but there are 21 frames"):
        imported(source, tmp_path / "store")
    second.write_bytes(first.read_bytes()[:900])
    with pytest.raises(RolloutError, match=rf"{second.name} is no .npz file that can be read"):
        imported(source, tmp_path / "store")
    del arrays["reward"]
    np.savez_compressed(second, **arrays)
    with pytest.raises(RolloutError, match=rf"{second.name}: there is no array 'reward'"):
        imported(source, tmp_path / "store")
    assert RolloutStore(tmp_path / "store").num_episodes == 1


def test_a_gap_in_a_replay_costs_no_other_episode(tmp_path: Path) -> None:
    episodes = [counting_episode(9, i) for i in range(8)]
    source = published.dreamer_v3(tmp_path / "data", episodes)
    sorted(source.iterdir())[2].write_bytes(b"torn")  # rows 32 to 47, of episodes 3 and 4
    done = import_rollouts(source, tmp_path / "store", skip_broken=True, progress=False)
    store = RolloutStore(tmp_path / "store")
    assert len(done.broken) == 1 and "torn" not in done.broken[0]
    firsts = [step_of(store.read(i, 0, 0).observation[0]) for i in range(store.num_episodes)]
    assert store.lengths.tolist() == [9, 9, 9, 1, 1, 9, 9, 9] and firsts == [0, 0, 0, 0, 8, 0, 0, 0]


def test_an_import_that_was_killed_goes_on(
    tmp_path: Path, child_environment: dict[str, str]
) -> None:
    episodes = [counting_episode(4 + i, i) for i in range(12)]
    source, out = published.memory_maze(tmp_path / "data", episodes), tmp_path / "store"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    code = (
        "import os, signal\nfrom dreamenv.rollouts.writer import RolloutWriter\n"
        "from dreamenv.rollouts.importers.run import import_rollouts\n"
        "real = RolloutWriter._write\n"
        "def write(self, *rest):\n"
        "    if self.num_episodes == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(self, *rest)\n"
        "RolloutWriter._write = write\n"
        f"import_rollouts({str(source)!r}, {str(out)!r}, progress=False)"
    )
    killed = subprocess.run([sys.executable, "-c", code], env=child_environment)
    assert killed.returncode == -9 and RolloutStore(out).num_episodes == 5
    done = import_rollouts(source, out, episodes=8, progress=False)
    assert (done.known, done.episodes) == (5, 3)
    done = import_rollouts(source, out, progress=False)
    assert (done.known, done.episodes) == (8, 4)
    once = imported(source, tmp_path / "once")
    assert once.identities == RolloutStore(out).identities


def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        episodes = [counting_episode(60, i, (32, 32, 3)) for i in range(count)]
        source = published.memory_maze(tmp_path / f"data{count}", episodes)
        del episodes
        tracemalloc.start()
        try:
            import_rollouts(source, tmp_path / f"store{count}", progress=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # what is imported and compiled at first use
    few, many = peak(3), peak(15)
    assert many < few + 61 * 32 * 32 * 3, "less than one more episode's frames"


def test_what_is_there_is_not_mixed_with_something_else(tmp_path: Path) -> None:
    maze = published.memory_maze(tmp_path / "maze", EPISODES)
    imported(maze, tmp_path / "store")
    with pytest.raises(RolloutError, match="was imported with format = memory-maze, not dreamer"):
        imported(published.dreamer_v2(tmp_path / "dreamer", EPISODES), tmp_path / "store")
    stored(tmp_path / "own", EPISODES)
    with pytest.raises(RolloutError, match="was not made by import"):
        imported(maze, tmp_path / "own")
    with pytest.raises(RolloutError, match="--actions has no effect on the format memory-maze"):
        imported(maze, tmp_path / "other", actions="leads")
    (tmp_path / "empty").mkdir()
    for place, told in (("nowhere", "there is no"), ("empty", "say which with --format")):
        with pytest.raises(RolloutError, match=told):
            imported(tmp_path / place, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_command_imports_exports_and_describes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = published.memory_maze(tmp_path / "data", EPISODES), str(tmp_path / "store")
    assert main(["import", str(source), "--out", out]) == 0
    assert "2 episodes (32 steps) imported from memory-maze" in capsys.readouterr().out
    assert main(["import", str(source), "--out", out]) == 0
    assert "0 episodes (0 steps) imported from memory-maze, 2 were there" in capsys.readouterr().out
    assert main(["export", out, "--to", "npz", "--out", str(tmp_path / "npz")]) == 0
    assert main(["import", str(tmp_path / "npz"), "--out", str(tmp_path / "again")]) == 0
    again = RolloutStore(tmp_path / "again")
    assert_same_episode(again.read(1), RolloutStore(out).read(1))
    assert main(["inspect", out]) == 0
    assert "taken from" in capsys.readouterr().out
    assert main(["import", str(source), "--out", out, "--env", "Other-v0"]) == 2
    assert "was imported with env = None, not Other-v0" in capsys.readouterr().err
    assert main(["export", out, "--to", "npz"]) == 2


def test_an_export_goes_on_and_leaves_what_is_whole(tmp_path: Path) -> None:
    store, out = stored(tmp_path / "store", EPISODES), tmp_path / "npz"
    export_npz(store, out, progress=False)
    first, second = out / "episode-000000.npz", out / "episode-000001.npz"
    before = os.stat(first).st_mtime_ns
    second.unlink()
    export_npz(store, out, progress=False)
    assert second.exists() and os.stat(first).st_mtime_ns == before
    other = stored(tmp_path / "other", [counting_episode(3, 9)])
    with pytest.raises(RolloutError, match="holds an export of other rollouts"):
        export_npz(other, out, progress=False)


def test_every_format_can_be_named() -> None:
    hint = get_type_hints(Options)["format"]
    assert set(get_args(hint)) == {"auto", *FORMATS}


def test_frames_are_resized_if_asked_to(tmp_path: Path) -> None:
    larger = [dataclasses.replace(e, observation=e.observation.repeat(2, 1).repeat(2, 2))
              for e in EPISODES]  # fmt: skip
    source = published.memory_maze(tmp_path / "data", larger)
    store = imported(source, tmp_path / "store", frame_size=(8, 8))
    np.testing.assert_array_equal(store.read(0).observation, EPISODES[0].observation)
    told = store.metadata["import"]
    assert (told["frame_size"], told["resize"]) == ([8, 8], "area")
    done = import_rollouts(source, tmp_path / "store", frame_size=(8, 8), progress=False)
    assert done.known == 2
    with pytest.raises(RolloutError, match=r"frame_size = \[8, 8\], not None"):
        imported(source, tmp_path / "store")


def test_frames_of_another_shape_are_told(tmp_path: Path) -> None:
    source = published.teco_dmlab(tmp_path / "data", EPISODES)
    larger = np.stack([frame_of(t, 0, (16, 16, 3)) for t in range(4)])
    np.savez(source / "train" / "1" / "9.npz", video=larger, actions=np.zeros(4, np.int32))
    with pytest.raises(RolloutError, match=r"9.npz: video has frames of \(16, 16, 3\)"):
        imported(source, tmp_path / "store")
