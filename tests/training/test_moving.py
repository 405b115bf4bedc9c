"""Small things that move: a tokenizer that loses them says so, and weight keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.store import RolloutStore, RolloutWriter
from dreamenv.training.config import TrainConfig
from dreamenv.training.data import sample_frames, sample_pairs
from dreamenv.training.moving import measure_moving, moving_pixels, pixel_weights, say_moving
from dreamenv.training.train import train_world_model
from tests.training.conftest import MakeRun

SIZE = (32, 32)


def ball_pairs(count: int) -> Tensor:
    """A ball of 2×2 pixels that goes two pixels to the right, (2, count, 32, 32, 3) uint8."""
    pairs = np.full((2, count, *SIZE, 3), 90, np.uint8)
    for i in range(count):
        row, column = 3 * i % 28, 5 * i % 26
        pairs[1, i, row : row + 2, column : column + 2] = 240
        pairs[0, i, row : row + 2, column + 2 : column + 4] = 240
    return torch.from_numpy(pairs)


class Decoding:
    """A world model whose tokenizer returns what `decode` makes of frames."""

    def __init__(self, decode: Any) -> None:
        self.tokenizer, self.decode = self, lambda frames: decode(frames)

    def encode(self, frames: Tensor) -> Tensor:
        return frames

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


def measure(decode: Any, pairs: Tensor) -> dict[str, float]:
    return measure_moving(Decoding(decode), pairs)  # type: ignore[arg-type]


def without_ball(frames: Tensor) -> Tensor:
    return torch.full_like(frames, 90 / 255)


def test_a_ball_left_out_is_lost_though_the_frame_is_nearly_whole() -> None:
    pairs = ball_pairs(8)
    whole = -10 * torch.log10(((pairs[0] / 255 - 90 / 255) ** 2).mean())
    told = measure(without_ball, pairs)
    assert told["moving_share"] == pytest.approx(8 / 1024)
    assert told["moving_regions"] == 8
    assert told["moving_lost"] == 1
    assert whole > told["moving_psnr"] + 15
    line = say_moving(told, float(whole), SIZE)
    assert "SMALL THINGS THAT MOVE ARE LOST, 100% of 8" in line
    assert "--moving-pixels" in line and "--frame-size 64 64" in line


def test_a_ball_that_is_kept_is_not_lost() -> None:
    for blur in (0.0, 0.05):
        told = measure(lambda frames, b=blur: frames + b * torch.randn_like(frames), ball_pairs(8))
        assert told["moving_lost"] == 0
        assert "0% of 8 small things that move are lost" in say_moving(told, 30.0, SIZE)


def test_a_view_that_moves_as_a_whole_has_nothing_small() -> None:
    pairs = torch.stack([torch.full((4, *SIZE, 3), v, dtype=torch.uint8) for v in (10, 200)])
    told = measure(lambda frames: frames, pairs)
    assert told["moving_share"] == 1
    assert "moving_lost" not in told
    assert "nothing small moves" in say_moving(told, 30.0, SIZE)


def test_where_nothing_moves_nothing_is_told() -> None:
    pairs = torch.zeros(2, 4, *SIZE, 3, dtype=torch.uint8)
    assert measure(lambda frames: frames, pairs) == {"moving_share": 0}
    assert "nothing in them moves" in say_moving({"moving_share": 0}, 30.0, SIZE)


def test_weights_have_mean_one_and_stress_what_moves() -> None:
    pairs = ball_pairs(4)
    weights, moving = pixel_weights(pairs, 9.0), moving_pixels(pairs)
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[moving].min() / weights[~moving].max()) == pytest.approx(10)


def test_pairs_are_the_frames_that_are_drawn_and_those_before(counting_store: Path) -> None:
    store = RolloutStore(counting_store)
    draws = [np.random.default_rng(3) for _ in range(2)]
    pairs = sample_pairs(store, 40, draws[0], (8, 8))
    np.testing.assert_array_equal(pairs[0], sample_frames(store, 40, draws[1], (8, 8)))
    numbers = pairs[:, :, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(numbers[1], np.maximum(numbers[0] - 1, 0))
    np.testing.assert_array_equal(pairs[0][:, 1:], pairs[1][:, 1:])  # of the same episode


def ball_store(path: Path, seeds: range) -> Path:
    """Rollouts of a ball of 3×3 pixels that flies over a still field, 32×32."""
    with RolloutWriter(path, "Ball-v0", Box(0, 255, (*SIZE, 3), np.uint8), Discrete(2)) as writer:
        for seed in seeds:
            place = np.random.default_rng(seed).integers(0, 29, (41, 2))
            frames = np.full((41, *SIZE, 3), 90, np.uint8)
            for frame, (row, column) in zip(frames, place, strict=True):
                frame[row : row + 3, column : column + 3] = 240
            ends = np.arange(40) == 39
            nothing = np.zeros(40)
            writer.append(
                Episode(frames, nothing.astype(np.int64), nothing.astype(np.float32),
                        np.zeros(40, np.bool_), ends, seed)
            )  # fmt: skip
    return path


@pytest.mark.usefixtures("quick")
def test_the_card_and_the_log_of_a_run_say_that_what_moves_is_lost(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four updates teach a tokenizer no ball."""
    data = ball_store(tmp_path / "data", range(3))
    held_out = ball_store(tmp_path / "held_out", range(10, 13))
    run = make_run(data=str(data), held_out=str(held_out), frame_size=SIZE)
    train_world_model(run)
    for text in ((Path(run.out) / "card.md").read_text("utf-8"), capsys.readouterr().err):
        assert "SMALL THINGS THAT MOVE ARE LOST" in text


def test_weight_makes_a_tokenizer_learn_what_moves_first() -> None:
    """After as many updates on the same batches, more of the ball is there."""
    from dreamenv.world_model.config import TokenizerConfig
    from dreamenv.world_model.network.tokenizer import Tokenizer
    from dreamenv.world_model.preprocessing import to_unit

    kept = {}
    for weight in (0.0, 50.0):
        torch.manual_seed(0)
        tokenizer = Tokenizer(TokenizerConfig((8, 8, 16), (0, 0, 0), 8, 0.0), 3)
        optimizer = torch.optim.Adam(tokenizer.parameters(), 3e-3)
        rng = np.random.default_rng(0)
        for _ in range(60):
            pairs = ball_pairs(400)[:, rng.choice(400, 16)]
            weights = pixel_weights(pairs, weight) if weight else None
            optimizer.zero_grad()
            tokenizer.loss(to_unit(pairs[0]), None, weights).backward()
            optimizer.step()
        model = Decoding(lambda latents, own=tokenizer: own.decode(latents, (2, 2)))
        model.tokenizer = tokenizer
        kept[weight] = measure_moving(model, ball_pairs(32))["moving_psnr"]  # type: ignore[arg-type]
    assert kept[50.0] > kept[0.0] + 0.5


@pytest.mark.parametrize("weight", [-1.0, float("nan"), 1e9])
def test_an_impossible_weight_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="moving_pixels is a weight"):
        TrainConfig("a", "b", "c", moving_pixels=weight)
