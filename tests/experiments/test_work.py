"""What a job costs and how its measurements survive a kill."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import ObjectiveConfig
from experiments import work
from experiments.flops import training_flops
from experiments.grid import Grid
from experiments.suite import Suite
from tests.experiments.conftest import make_suite
from tests.world_model.models import tiny_config

FORCING = ObjectiveConfig(scheme="diffusion_forcing")


def run(steps: int = 3, batch: int = 2, window: int = 8, **fields: Any) -> TrainConfig:
    stage = StageConfig(steps=steps, batch=batch, learning_rate=1e-3)
    values = {"data": "", "held_out": "", "out": "", "window": window, "dynamics": stage}
    return TrainConfig(**values | fields)


def model_of(config: WorldModelConfig) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(config).eval().requires_grad_(False)


def test_flops_of_a_transformer_are_six_per_weight_and_token() -> None:
    """And little more: attention over 3 frames of 4 tokens, and what is done once a frame."""
    dynamics = {"scan": "none", "width": 32, "attention_head_dim": 8, "mlp_ratio": 4}
    model = model_of(tiny_config(dynamics))
    layers = sum(p.numel() for p in model.dynamics.layers.parameters() if p.ndim == 2)
    # Adaptive norms take their weights once a frame, not once a token.
    norms = sum(
        p.numel()
        for p in model.dynamics.layers.parameters()
        if p.ndim == 2 and p.shape[1] == model.config.dynamics.condition_width
    )
    frames = 3 * 2 * 8
    expected = 6 * frames * (4 * (layers - norms) + norms)
    counted = training_flops(model, run(objective=FORCING))
    assert expected < counted < 1.25 * expected


def test_flops_grow_with_updates_rows_and_streams() -> None:
    model = model_of(tiny_config())
    one = training_flops(model, run(steps=1, objective=FORCING))
    assert training_flops(model, run(steps=5, objective=FORCING)) == 5 * one
    assert training_flops(model, run(steps=1, batch=4, objective=FORCING)) == 2 * one
    two_streams = training_flops(model, run(steps=1))
    assert 1.3 * one < two_streams < 2.2 * one
    forced = run(steps=4, objective=ObjectiveConfig(self_forcing=0.5), self_forcing_from=0.5)
    always = dataclasses.replace(forced, self_forcing_from=0.0)
    never = dataclasses.replace(forced, self_forcing_from=1.0)
    assert 2 * training_flops(model, forced) == sum(
        training_flops(model, other) for other in (always, never)
    )
    assert training_flops(model, never) == 4 * two_streams < training_flops(model, always)


def test_flops_of_full_attention_follow_the_window_schedule() -> None:
    """Full attention costs more per frame the longer the window, so growing windows cost less."""
    model = model_of(tiny_config({"scan": "none", "attention": "full"}))
    whole = training_flops(model, run(steps=4, window=16))
    growing = training_flops(model, run(steps=4, window=16, window_from=4))
    halves = training_flops(model, run(steps=4, window=16, segments=2))
    assert growing < whole and halves > 0


def test_counting_leaves_the_model_as_it_was() -> None:
    model = model_of(tiny_config())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training_flops(model, run(steps=1))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())


class Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Jobs train nothing and measure by noting the task; the list of them."""
    done: list[str] = []
    model = model_of(tiny_config())

    def train(config: TrainConfig) -> Path:
        folder = Path(config.out)
        folder.mkdir(parents=True, exist_ok=True)
        records = [
            {"stage": "dynamics", "kind": "train", "frames_per_second": rate, "seconds": 5 + rate}
            for rate in (10, 30, 20)
        ]
        lines = [{"stage": "tokenizer", "kind": "train", "seconds": 9, "frames_per_second": 99}]
        text = "\n".join(map(json.dumps, lines + records))
        (folder / "metrics.jsonl").write_text(text)
        (folder / "history.jsonl").write_text('{"commit": "b"}\n{"commit": "a"}\n{"commit": "b"}')
        return folder

    def measure(task: Any, *_: Any) -> dict[str, Any]:
        if done and done[-1] == "die":
            raise Killed
        done.append(task.kind)
        return {"value": len(done)}

    monkeypatch.setattr(work, "train_world_model", train)
    monkeypatch.setattr(work, "measure", measure)
    monkeypatch.setattr(work, "load_world_model", lambda *_: model)
    monkeypatch.setattr(work, "RolloutStore", lambda path: path)
    monkeypatch.setattr(work, "training_flops", lambda *_: 123)
    return done


def test_a_job_states_what_it_did_and_cost(
    tmp_path: Path, suite: Suite, measured: list[str]
) -> None:
    grid = Grid(suite, tmp_path)
    scores = work.train_and_measure(grid, grid.jobs(seeds=[3])[0])
    assert scores["command"] == "dreamenv compare --suite test --only ours --seeds 3"
    cost = scores["training"]
    assert (cost["updates"], cost["frames"]) == (20000, 20000 * 6 * 16)
    assert (cost["seconds"], cost["frames_per_second"]) == (25, 20)
    assert cost["matmul_flops"] == 123 and cost["commits"] == ["a", "b"]
    assert scores["machine"]["threads"] == torch.get_num_threads()
    assert scores["tasks"]["retrieval"]["kind"] == "retrieval"
    assert scores["tasks"]["reasoning"]["value"] == 2
    assert scores["parameters"]["dynamics"] > scores["parameters"]["head"] > 0


def test_a_task_is_not_done_again_unless_it_changed(
    tmp_path: Path, suite: Suite, measured: list[str]
) -> None:
    grid = Grid(suite, tmp_path)
    job = grid.jobs()[0]
    work.train_and_measure(grid, job)
    measured.append("die")
    again = work.train_and_measure(grid, grid.jobs()[0])
    assert again["tasks"]["reasoning"]["value"] == 2
    tasks = {**suite.tasks, "reasoning": dataclasses.replace(suite.tasks["retrieval"])}
    with pytest.raises(Killed):
        changed = Grid(make_suite(tasks=tasks), tmp_path)
        work.train_and_measure(changed, changed.jobs()[0])
    with pytest.raises(Killed):
        retrained = Grid(make_suite(window=5, training={**suite.training, "window": 12}), tmp_path)
        work.train_and_measure(retrained, retrained.jobs()[0])
