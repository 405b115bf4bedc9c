"""What `dreamenv view` tells of rollouts, checkpoints, runs and reports."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamenv.core.errors import CheckpointError, ConfigError, DreamEnvError
from dreamenv.core.json_lines import append_json_line
from dreamenv.play.glimpses import DREAMS, LENGTH, STEPS, WATCHED, Glimpse, Glimpses
from dreamenv.play.messages import unpack
from dreamenv.play.things import MOST_FRAMES, MOST_POINTS, Thing
from dreamenv.play.view_server import make_view_app
from dreamenv.rollouts.store import RolloutStore

pytest.importorskip("fastapi")


def test_episodes_are_listed_and_their_frames_and_poses_shown(pose_store: Path) -> None:
    thing = Thing(str(pose_store))
    assert thing.kinds == ["rollouts"]
    told, store = thing.rollouts(), RolloutStore(pose_store)
    assert [each["steps"] for each in told["episodes"]] == store.lengths.tolist()
    assert told["episodes"][2]["seed"] == 2 and told["env"] == "Counting-v0"
    episode = thing.episode(1)
    assert episode["actions"] == store.read_steps(1)["action"].tolist()
    assert episode["terminated"] and len(episode["rewards"]) == 60
    strip = thing.frames(1, 58, 64)
    np.testing.assert_array_equal(strip.reshape(-1, 8, 8, 3), store.read(1, 58, 60).observation)
    assert len(thing.frames(1, 0, 10**6)) == 8 * min(61, MOST_FRAMES)
    with pytest.raises(ConfigError, match="no episode 9"):
        thing.episode(9)


def test_poses_of_a_family_that_tells_them(pose_store: Path, monkeypatch: Any) -> None:
    from dreamenv.play import things
    from dreamenv.real.memory_maze import FAMILY

    monkeypatch.setattr(things, "family_of", lambda _: FAMILY)
    poses = Thing(str(pose_store)).episode(0)["poses"]
    info = RolloutStore(pose_store).read_info(0)
    np.testing.assert_allclose(np.array(poses)[:, :2], info["agent_pos"], atol=1e-3)
    np.testing.assert_allclose(np.array(poses)[:, 2:], info["agent_dir"], atol=1e-3)


def test_a_checkpoint_tells_its_facts_and_dreams_the_same_strips_again(
    debug_checkpoint: Path,
) -> None:
    thing = Thing(str(debug_checkpoint))
    assert thing.kinds == ["checkpoint"]
    told = thing.checkpoint()
    assert dict(told["facts"])["environment"] == "Counting-v0"
    assert told["card"].startswith("# An untrained model")
    glimpses = Glimpses(str(debug_checkpoint))
    first = glimpses.look(None, seed=3)
    assert glimpses.look(None, seed=3) is first
    assert len(first.labels) == WATCHED + len(STEPS)
    assert {len(curve) for curve in first.curves.values()} == {LENGTH + 1}
    height, width = first.strips.shape[:2]
    assert height // DREAMS == width // len(first.labels) == 64 + 1  # one pixel short of a gap
    assert first.curves["motion"][1] > 0  # type: ignore[operator]


def test_a_run_is_followed_while_it_goes_on(tmp_path: Path) -> None:
    thing = Thing(str(tmp_path))
    for step in range(1, 6):
        record = {"stage": "dynamics", "kind": "train", "step": step, "seconds": 2.0 * step}
        append_json_line(tmp_path / "metrics.jsonl", {**record, "total": 1 / step})
    assert thing.kinds == ["run"]
    told = thing.run(0)
    assert told["step"] == 5 and told["charts"]["dynamics: train"]["total"][1] == [2, 0.5]
    assert thing.run(told["records"])["charts"] == {}  # nothing new
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for step in range(6, 2 * MOST_POINTS):
            file.write(json.dumps({**record, "step": step, "total": 0.0}) + "\n")
    points = thing.run(5)["charts"]["dynamics: train"]["total"]
    assert len(points) <= MOST_POINTS + 1 and points[-1][0] == 2 * MOST_POINTS - 1


def test_measures_of_life_are_a_table(tmp_path: Path) -> None:
    stored = Path(__file__).parents[2] / "docs" / "results" / "life" / "bundled.json"
    thing = Thing(str(stored))
    told = thing.life_table()
    assert thing.kinds == ["life"] and told["rows"][0][0] == "measure"
    assert told["picture"] == "bundled.png" and thing.picture("bundled.png").is_file()
    with pytest.raises(ConfigError, match="no picture"):
        thing.picture("../../README.md")
    (tmp_path / "life.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DreamEnvError, match="no measures"):
        Thing(str(tmp_path)).life_table()


def test_a_path_with_nothing_to_see_is_refused(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "absent")):
        with pytest.raises(ConfigError, match="nothing to view"):
            make_view_app([path])
    with pytest.raises(CheckpointError):
        make_view_app(["bundled:absent"])


def test_the_server_answers_with_data_and_says_what_is_wrong(
    pose_store: Path, debug_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_view_app([str(pose_store), str(debug_checkpoint)])

    def get(path: str, query: str = "") -> tuple[int, bytes]:
        sent: list[Any] = []

        async def ask() -> None:
            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
                     "query_string": query.encode(), "headers": [(b"host", b"localhost:1")],
                     "root_path": "", "scheme": "http", "http_version": "1.1",
                     "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1)}  # fmt: skip
            await app(scope, receive, send)

        asyncio.run(ask())
        return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:])

    assert [x["kinds"] for x in json.loads(get("/api")[1])["things"]] == [
        ["rollouts"], ["checkpoint"],
    ]  # fmt: skip
    status, picture = get("/api/0/rollouts/0/frames", "start=3&count=5")
    assert status == 200 and picture.startswith(b"\x89PNG")
    seen = Glimpse(np.zeros((4, 4, 3), np.uint8), ["1"], {"trust": [1.0]})
    monkeypatch.setattr(Glimpses, "look", lambda *_: seen)
    status, body = get("/api/1/glimpse", "seed=3")
    header, (picture,) = unpack(body)
    assert status == 200 and header["curves"] == seen.curves and picture.startswith(b"\x89PNG")
    assert get("/api/1/glimpse", "passes=1000")[0] == 400
    status, body = get("/api/7/rollouts")
    assert status == 400 and b"nothing number 7" in body
    for kind in ("rollouts", "life", "gap"):
        assert get(f"/api/1/{kind}")[0] == 400
    assert get("/api/1/run")[0] == 200 and get("/api/0/rollouts/x")[0] == 422
    assert get("/api/1/picture/..%2fconfig.json")[0] in (400, 404)
