"""Frames compared one by one, whatever their memory layout; LPIPS or the reason for none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamenv.evaluation.metrics import similarity as module
from dreamenv.evaluation.metrics.similarity import lpips_missing, similarity

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tried_anew() -> Iterator[None]:
    """LPIPS is tried once per process; each test begins as a new one."""
    module._lpips_network.cache_clear()
    yield
    module._lpips_network.cache_clear()


@pytest.fixture
def frames(rng: np.random.Generator) -> np.ndarray:
    """More than one batch."""
    return rng.integers(0, 256, (3, 30, 16, 16, 3), dtype=np.uint8)


def test_metrics_are_per_frame_and_as_defined(frames: np.ndarray) -> None:
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    shown = frames[::-1].copy()
    shown[0, 0] = frames[0, 0]
    found = similarity(shown, frames, CPU)
    assert found["psnr"].shape == found["ssim"].shape == (3, 30)
    assert found["psnr"][0, 0] == pytest.approx(100) and found["ssim"][0, 0] == pytest.approx(1)
    a, b = (torch.from_numpy(x[2, 29]).permute(2, 0, 1)[None] / 255 for x in (shown, frames))
    expected = structural_similarity_index_measure(a, b, data_range=1.0)
    assert found["ssim"][2, 29] == pytest.approx(float(expected), abs=1e-5)
    expected = peak_signal_noise_ratio(a, b, data_range=1.0)
    assert found["psnr"][2, 29] == pytest.approx(float(expected), abs=1e-4)


def test_views_and_broadcasts_are_compared_without_a_copy_of_the_whole(frames: np.ndarray) -> None:
    backwards = similarity(frames[:, ::-1], frames, CPU)["psnr"]
    np.testing.assert_array_equal(
        backwards, similarity(frames[:, ::-1].copy(), frames, CPU)["psnr"]
    )
    last = similarity(frames[:, -1:], frames, CPU)["psnr"]
    assert last.shape == (3, 30) and (last[:, -1] == 100).all() and (last[:, :-1] < 20).all()


def test_without_torchvision_there_is_a_reason_and_no_number(
    frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchmetrics.image.lpip as lpip

    monkeypatch.setattr(lpip, "_TORCHVISION_AVAILABLE", False)
    reason = lpips_missing()
    assert reason is not None and "dreamenv[lpips]" in reason
    assert "lpips" not in similarity(frames[:1, :2], frames[:1, :2], CPU)


def test_weights_that_cannot_be_loaded_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchmetrics.image.lpip as lpip

    tries = []

    def fail(*args: object, **kwargs: object) -> None:
        tries.append(args)
        raise OSError("no route to host")

    monkeypatch.setattr(lpip, "LearnedPerceptualImagePatchSimilarity", fail)
    assert [lpips_missing(), lpips_missing()] == [
        "LPIPS: the pretrained AlexNet could not be loaded (no route to host)"
    ] * 2
    assert len(tries) == 1


def test_lpips_is_measured_where_its_network_loads(
    frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchmetrics.image.lpip as lpip

    class Metric:
        """Its network tells the mean difference of three-channel images in [0, 1]."""

        def __init__(self, backbone: str, normalize: bool) -> None:
            assert (backbone, normalize) == ("alex", True)
            self.net = torch.nn.Identity()
            self.net.forward = self.distance  # type: ignore[method-assign]

        def distance(self, shown: Tensor, real: Tensor, normalize: bool) -> Tensor:
            assert shown.shape[1:] == (3, 16, 16) and 0.9 < shown.max() <= 1 and normalize
            return (shown - real).abs().mean((1, 2, 3), keepdim=True)

    monkeypatch.setattr(lpip, "LearnedPerceptualImagePatchSimilarity", Metric)
    assert lpips_missing() is None
    found = similarity(frames[::-1], frames, CPU)["lpips"]
    expected = np.abs(frames[::-1] / 255 - frames / 255).mean((2, 3, 4))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    grey = similarity(frames[::-1][..., :1], frames[..., :1], CPU)["lpips"]
    np.testing.assert_allclose(
        grey, np.abs(frames[::-1] / 255 - frames / 255)[..., 0].mean((2, 3)), atol=1e-6
    )
