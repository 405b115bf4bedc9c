"""A rollout store as latents and signals in memory, and the file that keeps them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dreamenv.core.files import replacing
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.preprocessing import fit_frames, to_unit


def encoded(store: RolloutStore, model: WorldModel, cache: Path) -> dict[str, np.ndarray]:
    """The frames of all episodes, one after the other, as the file `cache` or the tokenizer has it.

    The file is made anew when it is of other episodes or of another tokenizer, or is damaged.

    Returns:
        latents (frames, tokens, channels) float16, standardised per channel; action, reward and
        terminated in model time; latent_mean and latent_std (channels,).
    """
    tag = _fingerprint(store, model)
    arrays = _read_cache(cache, tag)
    if arrays is None:
        arrays = _encode(store, model)
        _write_cache(cache, tag, arrays)
    return arrays


def restandardise(arrays: dict[str, np.ndarray], mean: np.ndarray, std: np.ndarray) -> None:
    """Measure latents by another mean and deviation (channels,), in place."""
    shift, scale = (arrays["latent_mean"] - mean) / std, arrays["latent_std"] / std
    if shift.any() or (scale != 1).any():
        flat = arrays["latents"].reshape(-1, len(mean))
        for start in range(0, len(flat), 2**20):
            part = flat[start : start + 2**20]
            part[:] = part * scale + shift
    arrays.update(latent_mean=mean, latent_std=std)


def _encode(store: RolloutStore, model: WorldModel) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for episode in tqdm(range(store.num_episodes), desc="encode", unit="episode"):
        window = model_time(store.read(episode), store.action_space)
        frames = fit_frames(window.frames, model.config.frame_size)
        latents = []
        for start in range(0, len(frames), 256):
            part = torch.from_numpy(frames[start : start + 256]).to(model.device)
            with torch.no_grad(), model.autocast():
                encoded = model.tokenizer.encode_raw(to_unit(part))
            latents.append(encoded.to("cpu", torch.float16).numpy())
        parts.setdefault("latents", []).append(np.concatenate(latents))
        for name in ("action", "reward", "terminated"):
            parts.setdefault(name, []).append(getattr(window, name))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return {**joined, **_standardise(joined["latents"])}


def _standardise(latents: np.ndarray) -> dict[str, np.ndarray]:
    """Standardise per channel, in place; returns `latent_mean` and `latent_std` (channels,)."""
    flat = latents.reshape(-1, latents.shape[-1])
    mean = flat.mean(0, dtype=np.float64)
    square = np.einsum("nc,nc->c", flat, flat, dtype=np.float64) / len(flat)
    std = np.sqrt(np.maximum(square - mean**2, 1e-6))
    for start in range(0, len(flat), 2**20):
        part = flat[start : start + 2**20]
        part[:] = (part - mean) / std
    return {"latent_mean": mean.astype(np.float32), "latent_std": std.astype(np.float32)}


def _fingerprint(store: RolloutStore, model: WorldModel) -> str:
    """A digest that is equal for equal episodes under an equal tokenizer, at the same size."""
    digest = hashlib.sha256(f"{store.env_id},{model.config.frame_size}".encode())
    seeds = np.array([-1 if seed is None else seed for seed in store.seeds], np.int64)
    for array in (store.lengths, seeds, store.returns):
        digest.update(array.tobytes())
    for tensor in model.tokenizer.parameters():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_cache(cache: Path, tag: str) -> dict[str, np.ndarray] | None:
    if not cache.exists():
        return None
    try:
        with np.load(cache, allow_pickle=False) as stored:
            return dict(stored) if str(stored["tag"]) == tag else None
    except Exception:  # a damaged zip raises whatever it meets first; the cache can be remade
        return None


def _write_cache(cache: Path, tag: str, arrays: dict[str, np.ndarray]) -> None:
    with replacing(cache) as file:  # under a name of its own: other runs may write it just now
        np.savez(file, tag=np.array(tag), **arrays)  # type: ignore[arg-type]
