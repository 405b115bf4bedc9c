"""A small suite that is never trained, and results that were never measured."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.suite import Cell, Rollouts, Suite, Task

INFOS = ("agent_pos", "agent_dir", "targets_pos", "maze_layout")


def make_suite(**changes: Any) -> Suite:
    """Two cells by pose, windows of 16 frames at a stride of 2; keywords replace fields."""
    fields: dict[str, Any] = {
        "name": "test",
        "data": Rollouts("train", "Maze-v0", 2, 100, {"uniform": 1.0}, 0, INFOS),
        "held_out": Rollouts("test", "Maze-v0", 2, 100, {"uniform": 1.0}, 1, INFOS),
        "preset": "debug",
        "window": 4,
        "training": {"conditioning": "pose", "stride": 2, "window": 16, "dtype": "float32"},
        "tasks": {
            "retrieval": Task("retrieval", {"context": 8, "clips": 4}),
            "retrieval_2x": Task("retrieval", {"context": 16, "clips": 4}),
            "reasoning": Task("reasoning", {"context": 8, "horizon": 8, "clips": 4}),
            "cue_recall": Task("cue_recall", {"distances": [10, 30]}),
            "revisit": Task("revisit", {"context": 64, "horizon": 8}),
        },
        "default_tasks": ("retrieval", "reasoning"),
        "cells": (
            Cell("ours", "ours", ("baselines", "ablations", "beyond")),
            Cell("window", "windowed", ("baselines",), "causal_window"),
        ),
    }
    return Suite(**fields | changes)


@pytest.fixture
def suite() -> Suite:
    """The suite as it is."""
    return make_suite()


def interval(mean: float, half: float = 0.5) -> dict[str, float]:
    """A mean with its bootstrap interval."""
    return {"mean": mean, "low": mean - half, "high": mean + half}


def memory_scores(kind: str, psnr: float, context: int = 8, lpips: bool = False) -> dict[str, Any]:
    """What a memory task says of a model: `psnr` overall, one less for frames long ago."""

    def entry(mean: float) -> dict[str, Any]:
        return {
            "overall": interval(mean),
            "per_frame": {"mean": [mean] * 8, "low": [mean] * 8, "high": [mean] * 8},
            "by_distance": [
                {"distance": [1, 8], "frames": 16, **interval(mean)},
                {"distance": [9, 16], "frames": 16, **interval(mean - 1)},
            ],
            "seen": interval(mean + 2),
            "unseen": {"mean": mean - 2, "low": None, "high": None},
            "at_equal_steps": [
                {"distance": [1, None], "revisited": mean, "novel": mean - 3,
                 "difference": interval(3.0)},
            ],
        }  # fmt: skip

    def shown(mean: float) -> dict[str, Any]:
        return {"model": entry(mean), "repeat last frame": entry(mean / 2)}

    return {
        "kind": kind,
        "settings": {"context": context},
        "rollouts": {"name": "test"},
        "task": kind,
        "data": {"env_id": "Maze-v0"},
        "clips": 4,
        "episodes": 2,
        "context": context,
        "horizon": 8,
        "stride": 2,
        "frames": {"seen": 5, "unseen": 27},
        "lpips_missing": None if lpips else "LPIPS needs torchvision",
        "scores": {"psnr": shown(psnr), "ssim": shown(psnr / 100)}
        | ({"lpips": shown(0.1)} if lpips else {}),
        "per_clip": {"episode": [0, 1, 0, 1], "start": [0] * 4, "psnr": [psnr - 1, psnr + 1] * 2},
    }


def cue_scores(accuracy: float) -> dict[str, Any]:
    """What cue recall says of a model; nothing could be asked at 30 frames."""
    ways = ("probe", "probe control", "decode nearest", "reconstruction")
    return {
        "kind": "cue_recall",
        "settings": {},
        "by_distance": [
            {"distance": 10, "questions": 8, "chance": 0.5,
             "accuracy": {way: interval(accuracy, 0.1) for way in ways}},
            {"distance": 30, "questions": 0},
        ],
    }  # fmt: skip


def job_scores(psnr: float, seconds: float = 120.0, **tasks: dict[str, Any]) -> dict[str, Any]:
    """What `work.train_and_measure` returns."""
    return {
        "command": "dreamenv compare --suite test --only ours --seeds 0",
        "parameters": {"dynamics": 1_234_567, "head": 1, "tokenizer": 2},
        "training": {
            "updates": 3000,
            "frames": 1000,
            "seconds": seconds,
            "frames_per_second": 250.4,
            "matmul_flops": 1_500_000_000_000,
        },
        "machine": {"cores": 2, "threads": 1},
        "tasks": tasks
        or {
            "retrieval": memory_scores("retrieval", psnr),
            "reasoning": memory_scores("reasoning", psnr + 1),
        },
    }
