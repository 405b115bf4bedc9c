"""Similarity of shown and real frames: PSNR, SSIM, and LPIPS where its weights can be loaded."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamenv.world_model.open_loop import psnr
from dreamenv.world_model.preprocessing import to_unit

METRICS = ("psnr", "ssim", "lpips")
BATCH = 64
"""Frames compared at once: on a CPU SSIM takes 1.1 ms a frame so, 1.9 ms in batches of 256."""

Similarity = dict[str, np.ndarray]
"""Metric → one number per frame: psnr in dB (100 at most), ssim (1 at most), lpips (0 is equal)."""


def similarity(shown: np.ndarray, real: np.ndarray, device: torch.device) -> Similarity:
    """Compare uint8 frames (…, H, W, C) one by one; arrays (…). `lpips` is absent if unavailable.

    Either side may be broadcast to the other's shape.
    """
    shown, real = np.broadcast_arrays(shown, real)
    lead = real.shape[:-3]
    # Flattened through indices: a reshape would copy what is broadcast or reversed.
    places = np.unravel_index(np.arange(int(np.prod(lead))), lead)
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(places[0]), BATCH):
        part = tuple(index[start : start + BATCH] for index in places)
        a, b = (to_unit(torch.from_numpy(x[part]).to(device))[None] for x in (shown, real))
        found = {"psnr": psnr(a - b), "ssim": ssim(a, b)}
        if lpips_missing() is None:
            found["lpips"] = _lpips(a[0], b[0])
        for name, values in found.items():
            parts.setdefault(name, []).append(values.flatten().cpu().numpy())
    return {name: np.concatenate(values).reshape(lead) for name, values in parts.items()}


def psnr_of(shown: np.ndarray, real: np.ndarray) -> np.ndarray:
    """PSNR (…) dB, 100 at most, of uint8 frames (…, H, W, C), where nothing else is asked for."""
    a, b = (to_unit(torch.from_numpy(np.ascontiguousarray(x))) for x in (shown, real))
    return psnr(a - b).numpy()


def ssim(images: Tensor, real: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004) of frames (n, t, H, W, C) in [0, 1]; (n, t)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    def planes(frames: Tensor) -> Tensor:
        return frames.flatten(0, 1).permute(0, 3, 1, 2)

    scores = structural_similarity_index_measure(
        planes(images), planes(real), data_range=1.0, reduction="none"
    )
    assert isinstance(scores, Tensor)
    return scores.view(real.shape[:2])


def lpips_missing() -> str | None:
    """Why LPIPS cannot be measured here; None where it can."""
    network = _lpips_network()
    return network if isinstance(network, str) else None


@functools.cache
def _lpips_network() -> Any:
    """The network of Zhang et al. (2018) on AlexNet, or why there is none; tried only once."""
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        return LearnedPerceptualImagePatchSimilarity("alex", normalize=True).net
    except ModuleNotFoundError:
        return 'LPIPS needs torchvision for its pretrained AlexNet; pip install "dreamenv[lpips]"'
    except Exception as error:  # torch.hub raises whatever the download or the file met
        return f"LPIPS: the pretrained AlexNet could not be loaded ({error})"


def _lpips(shown: Tensor, real: Tensor) -> Tensor:
    """LPIPS (n,) of frames (n, H, W, C) in [0, 1]; one channel counts as three equal ones."""
    images = (x.permute(0, 3, 1, 2).expand(-1, 3, -1, -1) for x in (shown, real))
    with torch.no_grad():
        scores: Tensor = _lpips_network().to(shown.device)(*images, normalize=True)
    return scores.flatten()
