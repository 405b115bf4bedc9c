"""A decoder that is trained on: sharper frames, and nothing else is touched."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from dreamenv.cli import main
from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.dream.env import DreamEnv
from dreamenv.training.adversary import Adversary
from dreamenv.training.config import StageConfig
from dreamenv.training.sharpen import SharpenConfig, sharpen_decoder
from dreamenv.world_model.checkpoint import load_world_model, read_config
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.open_loop import gradient_energy
from tests.conftest import apart_from

DECODER = StageConfig(steps=4, batch=4, learning_rate=1e-3, warmup=0, ema=0.5)


@pytest.fixture
def config(
    debug_checkpoint: Path, counting_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SharpenConfig:
    """A few updates of the untrained model."""
    monkeypatch.setattr("dreamenv.training.sharpen.HELD_OUT", 16)
    stores = str(counting_store), str(apart_from(counting_store))
    return SharpenConfig(
        *(str(debug_checkpoint), *stores, str(tmp_path / "sharp")),
        dtype="float32",
        decoder=DECODER,
        log_every=1,
        evaluate_every=4,
        checkpoint_every=2,
    )


def test_only_the_decoder_learns_and_dreams_begin_as_before(config: SharpenConfig) -> None:
    out = sharpen_decoder(config)
    before, after = (load_world_model(f).state_dict() for f in (config.checkpoint, out))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert before.keys() == after.keys()
    assert changed and all(name.startswith("tokenizer.decoder.") for name in changed)
    (old, about), (new, told) = read_config(Path(config.checkpoint)), read_config(out)
    assert new == old and about.items() <= told.items()
    assert told["sharpened"]["updates"] == DECODER.steps
    env = DreamEnv(out, horizon=3)
    source = DreamEnv(config.checkpoint, horizon=3)
    assert (env.reset(seed=1)[0] == source.reset(seed=1)[0]).all()
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"error", "gradients", "deceived", "mistaken"} <= rows[0].keys()
    assert {"psnr", "sharpness"} <= rows[-1].keys()


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    config: SharpenConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_world_model(sharpen_decoder(config)).state_dict()
    again, decode = dataclasses.replace(config, out=str(tmp_path / "again")), WorldModel.decode
    calls = []

    def stops_once(model: WorldModel, latents: torch.Tensor) -> torch.Tensor:
        calls.append(latents)
        if len(calls) == 3:  # in the update after the first save
            raise KeyboardInterrupt
        return decode(model, latents)

    monkeypatch.setattr(WorldModel, "decode", stops_once)
    with pytest.raises(KeyboardInterrupt):
        sharpen_decoder(again)
    resumed = load_world_model(sharpen_decoder(again)).state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)
    with pytest.raises(ConfigError, match=r"was begun with adversary 0.02, not 0.0"):
        sharpen_decoder(dataclasses.replace(again, adversary=0.0))


def test_the_adversary_learns_to_tell_and_teaches_the_decoder_alone_to_deceive() -> None:
    torch.manual_seed(0)
    adversary = Adversary(3, width=8)
    frames = torch.rand(4, 32, 32, 3)
    decoded = torch.full_like(frames, 0.5).requires_grad_()
    deceived, mistaken = adversary.losses(decoded, frames)
    deceived.backward()
    assert decoded.grad is not None and decoded.grad.abs().sum() > 0
    assert all(p.grad is None for p in adversary.parameters())
    decoded.grad = None
    mistaken.backward()
    assert decoded.grad is None
    assert all(p.grad is not None for p in adversary.parameters())
    optimizer = torch.optim.Adam(adversary.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        adversary.losses(decoded, torch.rand(4, 32, 32, 3))[1].backward()
        optimizer.step()
    assert (
        (adversary(frames) > 0).float().mean() > 0.9 > 0.1 > (adversary(decoded) > 0).float().mean()
    )


def test_the_sharpness_of_a_frame_leaves_out_its_border() -> None:
    frames = torch.zeros(1, 16, 16, 3)
    frames[:, :2] = 1
    assert gradient_energy(frames).item() == 0
    frames[:, 8:] = 1  # an edge across the whole of it: one of the 12 rows that count
    assert gradient_energy(frames).item() == pytest.approx(1 / 12)


def test_misuse_is_refused_before_anything_is_written(
    config: SharpenConfig, box_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="is the checkpoint itself"):
        sharpen_decoder(dataclasses.replace(config, out=config.checkpoint))
    with pytest.raises(RolloutError, match="use rollouts of the environment"):
        sharpen_decoder(dataclasses.replace(config, data=str(box_store)))
    with pytest.raises(RolloutError, match="are also in"):
        sharpen_decoder(dataclasses.replace(config, held_out=config.data))
    with pytest.raises(ConfigError, match="adversary"):
        dataclasses.replace(config, adversary=-1.0)
    assert not Path(config.out).exists()
    told = ["--data", config.data, "--held-out", config.held_out, "--out", config.out]
    assert main(["sharpen", "--checkpoint", "no/where", *told]) == 2
    assert "no/where" in capsys.readouterr().err
