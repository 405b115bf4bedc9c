"""The autoencoder and the path from an environment's frames to its input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.preprocessing import fit_frames, to_uint8, to_unit
from tests.world_model.models import TINY_TOKENIZER, randomise, tiny_config, tiny_model


def tokenizer(channels: int = 3) -> Tokenizer:
    torch.manual_seed(0)
    module = Tokenizer(TINY_TOKENIZER, channels)
    randomise(module)
    return module


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 48), (16, 16)])
def test_shapes(channels: int, size: tuple[int, int]) -> None:
    module, grid = tokenizer(channels), (size[0] // 16, size[1] // 16)
    frames = torch.rand(2, 5, *size, channels)
    latents = module.encode(frames)
    assert latents.shape == (2, 5, grid[0] * grid[1], TINY_TOKENIZER.latent_channels)
    assert module.decode(latents, grid).shape == frames.shape
    assert module.decode(latents[:, 0], grid).shape == (2, *size, channels)


def test_frames_are_encoded_one_by_one() -> None:
    """No frame's latents depend on the others of the batch."""
    module, frames = tokenizer().double(), torch.rand(2, 3, 32, 32, 3).double()
    latents = module.encode(frames)
    for b in range(2):
        for t in range(3):
            alone = module.encode(frames[b : b + 1, t : t + 1])[0, 0]
            torch.testing.assert_close(latents[b, t], alone, rtol=1e-9, atol=1e-9)


def test_tokens_are_in_row_major_order() -> None:
    module = Tokenizer(TINY_TOKENIZER, 3).double()  # whose residual blocks do not mix yet
    frame = torch.rand(1, 1, 64, 96, 3).double()
    changed = frame.clone()
    changed[:, :, 40:44, 24:28] += 0.5  # inside row 2, column 1 of the 4×6 grid
    moved = (module.encode(frame) - module.encode(changed)).abs().amax(-1)[0, 0].view(4, 6)
    assert (moved > 1e-9).nonzero().tolist() == [[2, 1]]


def test_standardisation_is_undone_by_the_decoder() -> None:
    module, frames = tokenizer().double(), torch.rand(4, 32, 32, 3).double()
    raw, decoded = module.encode_raw(frames), module.decode(module.encode(frames), (2, 2))
    module.latent_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    module.latent_std.copy_(torch.tensor([2.0, 0.5, 1.0]))
    expected = (raw - module.latent_mean) / module.latent_std
    torch.testing.assert_close(module.encode(frames), expected)
    torch.testing.assert_close(module.decode(module.encode(frames), (2, 2)), decoded)


def test_the_loss_reaches_every_weight_and_knows_the_right_answer() -> None:
    module, frames = tokenizer(), torch.rand(2, 32, 32, 3)
    loss = module.loss(frames, torch.Generator().manual_seed(0))
    again = module.loss(frames, torch.Generator().manual_seed(0))
    assert torch.equal(loss, again)
    loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    module._decode = lambda latents, grid: frames  # type: ignore[method-assign]
    assert float(module.loss(frames)) == 0.0


def test_training_brings_a_handful_of_frames_back() -> None:
    """Sixty updates on eight frames: the error falls to less than half."""
    torch.manual_seed(0)
    module = Tokenizer(TINY_TOKENIZER, 3)
    colours = torch.linspace(0, 1, 8)[:, None, None, None].expand(8, 32, 32, 3).clone()
    colours[:, :16, :, 1] = 1 - colours[:, :16, :, 1]
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        loss = module.loss(colours, generator)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_fitting_averages_areas_and_leaves_the_right_size_alone() -> None:
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    assert fit_frames(frames, (4, 4)) is frames
    small = fit_frames(frames, (2, 2))
    expected = frames.reshape(2, 2, 2, 2, 2, 3).mean((2, 4))
    assert np.abs(small - expected).max() <= 0.5
    large = fit_frames(frames, (8, 8))
    np.testing.assert_array_equal(large, frames.repeat(2, 1).repeat(2, 2))
    grey = fit_frames(frames[..., :1], (2, 2))
    np.testing.assert_array_equal(grey[..., 0], small[..., 0])


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (4, 4, 2)])
def test_fitting_refuses_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="must be uint8"):
        fit_frames(np.zeros(shape, np.uint8), (2, 2))
    with pytest.raises(ConfigError, match="must be uint8"):
        fit_frames(np.zeros((4, 4, 3), np.float32), (2, 2))


def test_uint8_and_unit_frames_convert_without_loss() -> None:
    every = torch.arange(256).to(torch.uint8)
    assert torch.equal(to_uint8(to_unit(every)), every)
    assert to_uint8(torch.tensor([-0.3, 1.4])).tolist() == [0, 255]
    assert to_unit(every, torch.float64).dtype == torch.float64


def test_frames_of_parts_of_tokens_are_covered_and_cut() -> None:
    """What sticks out repeats the edge: a frame made larger by hand has the same latents."""
    model = tiny_model(tiny_config(frame_size=(29, 20)))
    frames = torch.rand(2, 29, 20, 3, dtype=torch.float64)
    covered = frames[:, torch.arange(32).clamp(max=28)][:, :, torch.arange(32).clamp(max=19)]
    latents = model.tokenizer.encode(frames)
    torch.testing.assert_close(latents, model.tokenizer.encode(covered))
    assert model.decode(latents).shape == frames.shape
    assert torch.isfinite(model.tokenizer.loss(frames))
