"""The description of a store and its contact sheet."""

from __future__ import annotations

import numpy as np
import pytest
from counting_episodes import DISCRETE, counting_episode
from gymnasium.spaces import Box
from PIL import Image

from dreamenv.cli import main
from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.store import RolloutStore, RolloutWriter
from dreamenv.rollouts.summary import contact_sheet, describe, reward_table


@pytest.fixture(params=[1, 3], ids=["gray", "colour"])
def store(request, tmp_path):
    shape = (16, 12, request.param)
    with RolloutWriter(tmp_path, "Counting-v0", Box(0, 255, shape, np.uint8), DISCRETE) as writer:
        for seed, steps in enumerate([30, 9, 21]):
            episode = counting_episode(steps, seed, shape)
            episode.policy = "goal:0.3" if seed == 1 else "sticky"
            writer.append(episode)
    return RolloutStore(tmp_path)


def test_description(store):
    text = describe(store)
    for part in ("Counting-v0", "3 of 9 to 30 steps (mean 20.0)", "Discrete(5)", "x smaller"):
        assert part in text
    assert "3 episodes terminated, 0 were cut off" in text
    assert "every frame counts alike; 100% of the episodes are shorter than a window of 48" in text
    assert "33% of the episodes are shorter than a window of 20 frames and padded" in describe(
        store, 20
    )
    rows = [line.split() for line in reward_table(store).splitlines()]
    # Every third step is rewarded: 3 of 9; 10 of 30 and 7 of 21.
    assert rows[1][:4] == ["goal:0.3", "1", "9", "333.33"]
    assert rows[2][:4] == ["sticky", "2", "51", "333.33"]
    assert rows[3][:3] == ["all", "3", "60"]


def test_contact_sheet(store):
    sheet = contact_sheet(store, episodes=6, frames=4)
    scale = 6  # 16 rows of pixels are drawn about 96 high
    assert sheet.size == (4 * 12 * scale, 3 * 16 * scale)
    pixels = np.asarray(sheet)[::scale, ::scale]
    last = store.read(1, 9, 9).observation[0]
    np.testing.assert_array_equal(pixels[16:32, -12:].reshape(last.shape), last)


def test_command(store, tmp_path, capsys):
    picture = tmp_path / "pictures" / "sheet.png"
    assert main(["inspect", str(store.path), "--image", str(picture)]) == 0
    assert "reset seeds  3 different" in capsys.readouterr().out
    with Image.open(picture) as image:
        assert image.format == "PNG"


def test_an_empty_store(tmp_path):
    space = Box(0, 255, (8, 8, 3), np.uint8)
    RolloutWriter(tmp_path, "Counting-v0", space, DISCRETE).close()
    empty = RolloutStore(tmp_path)
    assert "no episodes yet" in describe(empty)
    with pytest.raises(RolloutError, match="no episodes to draw"):
        contact_sheet(empty)
