"""Parts that say whether what runs on CUDA computes what the reference path computes."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks.cuda import checks
from benchmarks.cuda.common import checkpoint_model, new_dream, require_cuda, take_steps


def scans(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The scan of training by mamba-ssm's kernels."""
    require_cuda(device)
    model = checkpoint_model(args, device)
    config = model.config.dynamics
    sizes = (4, args.check_frames, 8, config.ssm_head_dim, config.ssm_state_dim)
    return _verdict(checks.scans(device, *sizes))


def steps(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Steps of the dream by Triton's kernels."""
    require_cuda(device)
    return _verdict(checks.steps(checkpoint_model(args, device), slots=6, count=4))


def whole_model(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Watching and learning with kernels."""
    # On CUDA as many as it takes for kernels to be chosen (`mamba_kernels.LEAST_TOKENS`).
    count = 16 if device.type == "cuda" else 2
    rows = checks.whole_model(checkpoint_model(args, device), count, args.check_frames)
    return _verdict(rows)


def _verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    worst = max(part["kernels"] for row in rows for part in row["parts"].values())
    return {"passes": all(row["passes"] for row in rows), "worst": worst, "rows": rows}


def graphs(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Recorded graphs against single launches."""
    require_cuda(device)
    return checks.graphs(checkpoint_model(args, device), slots=6, count=12)


def same_dream(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """One seed on the CPU and here, in float32, and alone and among others."""
    from dreamenv.dream.vector_env import DreamVectorEnv

    require_cuda(device)
    taken = {}
    for name, where, slots in (("cpu", "cpu", 3), ("here", device, 3), ("alone", device, 1)):
        env = DreamVectorEnv(slots, args.checkpoint, device=str(where), dtype="float32")
        env.reset(seed=0)
        actions = np.random.default_rng(0).integers(0, 6, (16, 3))
        frames = [env.step(row[:slots])[0][0] for row in actions]
        taken[name] = np.stack(frames).astype(int)
    errors = {name: np.abs(taken["here"] - taken[name]) for name in ("cpu", "alone")}
    found = {name: {"mean": float(e.mean()), "most": int(e.max())} for name, e in errors.items()}
    return {"grey_levels": found, "passes": max(e.mean() for e in errors.values()) < 1}


def host_waits(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Waits that torch warns of, in ten steps; reading the results waits once more, by intent."""
    require_cuda(device)
    env = new_dream(args, 8)
    take_steps(env, 5)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            take_steps(env, 10)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [f"{w.filename}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
    return {"in_ten_steps": len(found), "where": sorted(set(found)), "passes": not found}
