"""Training by compiled kernels has the losses, gradients and memories of the reference."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamenv.core.settings import KERNELS
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.operations import (
    TORCH,
    Operations,
    operations_for,
    targets_of_training,
)
from dreamenv.world_model.objective import SCHEMES, Batch, ObjectiveConfig, dynamics_loss
from dreamenv.world_model.runtime.cpu.build import load_training_kernels
from dreamenv.world_model.runtime.cpu.training import operations as compiled
from dreamenv.world_model.runtime.cpu.training.kernels import library_for
from dreamenv.world_model.runtime.cpu.training.operations import (
    CompiledOperations,
    compiled_operations,
)
from tests.world_model.batches import random_batch
from tests.world_model.models import tiny_config, tiny_model

SHAPES: dict[str, dict[str, Any]] = {
    "every size of block": {"scan_blocks": ((4, 4), (2, 2), (1, 1), (1, 2))},
    "sizes that fit no register": {
        "width": 48, "attention_head_dim": 48, "attention_window": 1, "ssm_head_dim": 6,
        "ssm_state_dim": 5, "ssm_conv": 3,
    },
    "scan of whole frames": {"scan": "frame", "attention": "none"},
    "attention alone": {"scan": "none", "attention_head_dim": 32},
    "recall and full attention": {"ssm_recall": True, "attention": "full"},
}  # fmt: skip
"""Changes of the dynamics below; of the last nothing but norms, residuals and MLPs is compiled."""
DYNAMICS = {"width": 32, "attention_head_dim": 16, "ssm_head_dim": 16, "ssm_conv": 4}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries of these tests are kept for all of them, and nowhere else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv(KERNELS, raising=False)
    forget_libraries()


def forget_libraries() -> None:
    library_for.cache_clear()
    load_training_kernels.cache_clear()


def model_of(shape: str = "every size of block", **fields: Any) -> WorldModel:
    """In float32; of 4×4 tokens, or of 3×3 where blocks are not named."""
    dynamics = DYNAMICS | SHAPES[shape] | fields
    if "scan_blocks" in dynamics:
        config = tiny_config(dynamics, frame_size=(64, 64))
    else:
        blocks = {"scan_blocks": ((3, 3), (1, 3))}
        config = tiny_config(dynamics | blocks, frame_size=(48, 48))
    return tiny_model(config).float().requires_grad_(True)


def windows(model: WorldModel, rows: int = 2, frames: int = 7) -> Batch:
    """The last row holds three frames fewer than the others."""
    batch = random_batch(model, rows, frames).each(
        lambda x: x.float() if x.is_floating_point() else x
    )
    batch.valid[-1, -3:] = False
    return batch


def trained(
    model: WorldModel,
    batch: Batch,
    scheme: str | ObjectiveConfig,
    dtype: torch.dtype,
    segments: int = 1,
) -> tuple[float, dict[str, Tensor]]:
    """The total of all losses and the gradients of all parameters."""
    model.compute_dtype = dtype
    model.zero_grad()
    total, generator = 0.0, torch.Generator().manual_seed(0)
    objective = ObjectiveConfig(scheme=scheme) if isinstance(scheme, str) else scheme
    for losses in model.segment_losses(batch, objective, generator, segments):
        losses["total"].backward()
        total += float(losses["total"].detach())
    named = model.dynamics.named_parameters()
    return total, {name: p.grad.clone() for name, p in named if p.grad is not None}


def by_reference(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setenv(KERNELS, "0")
        return trained(*args, **options)


def distance(found: dict[str, Tensor], right: dict[str, Tensor]) -> dict[str, float]:
    """How far gradients are apart, as a share of the right one's size."""
    assert found.keys() == right.keys()
    return {
        name: float((found[name] - g).norm() / g.norm().clamp(min=1e-6))
        for name, g in right.items()
    }


def require_kernels(dtype: torch.dtype = torch.float32) -> None:
    if library_for(dtype) is None:
        pytest.skip("there is no C compiler here")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_in_float32_are_those_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, shape: str, scheme: str
) -> None:
    require_kernels()
    model = model_of(shape)
    batch = windows(model)
    total, gradients = trained(model, batch, scheme, torch.float32)
    right_total, right = by_reference(monkeypatch, model, batch, scheme, torch.float32)
    assert total == pytest.approx(right_total, rel=1e-5)
    assert max(distance(gradients, right).values()) < 1e-4
    # The comparison would be of one path with itself if nothing differed.
    assert any(not torch.equal(gradients[name], right[name]) for name in right)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_in_bfloat16_they_are_as_near_to_float32_as_the_reference_is(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    require_kernels(torch.bfloat16)
    model = model_of()
    batch = windows(model)
    total, gradients = trained(model, batch, scheme, torch.bfloat16)
    _, half = by_reference(monkeypatch, model, batch, scheme, torch.bfloat16)
    right_total, right = by_reference(monkeypatch, model, batch, scheme, torch.float32)
    assert total == pytest.approx(right_total, rel=1e-2)

    def whole(named: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"all": torch.cat([named[name].flatten() for name in right])}

    error, usual = (distance(whole(g), whole(right))["all"] for g in (gradients, half))
    assert error < 1.2 * usual
    assert max(distance(gradients, right).values()) < 0.15


def test_memory_is_handed_on_between_segments_as_by_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_kernels()
    model = model_of()
    batch = windows(model, frames=12)
    arguments = model, batch, "clean_state", torch.float32, 4
    total, gradients = trained(*arguments)
    right_total, right = by_reference(monkeypatch, *arguments)
    assert total == pytest.approx(right_total, rel=1e-5)
    assert max(distance(gradients, right).values()) < 1e-4


def test_what_training_predicts_for_itself_is_what_the_reference_predicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_kernels()
    model = model_of(shortcut_passes=4)
    batch = windows(model)
    objective = ObjectiveConfig(self_forcing=1.0, shortcut=1.0)
    arguments = model, batch, objective, torch.float32
    total, gradients = trained(*arguments)
    right_total, right = by_reference(monkeypatch, *arguments)
    assert total == pytest.approx(right_total, rel=1e-5)
    assert max(distance(gradients, right).values()) < 1e-4
    without = model, batch, "clean_state", torch.float32
    with monkeypatch.context() as patch:  # those passes are compiled, too
        patch.setattr(TORCH, "enter", None, raising=False)
        assert trained(*arguments)[0] != trained(*without)[0]


def test_an_update_repeated_has_the_same_bits() -> None:
    require_kernels(torch.bfloat16)
    model = model_of()
    batch = windows(model)
    total, first = trained(model, batch, "clean_state", torch.bfloat16)
    again, second = trained(model, batch, "clean_state", torch.bfloat16)
    assert total == again
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_threads_do_not_change_the_kernels_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    require_kernels()
    model = model_of()
    batch = windows(model)
    found = []
    for threads in (1, 3):
        # Of the kernels alone: how torch divides its products among threads is its own affair.
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(trained(model, batch, "clean_state", torch.float32))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_what_is_not_finite_reaches_the_gradient() -> None:
    require_kernels(torch.bfloat16)
    model = model_of()
    batch = windows(model)
    batch.latents[0, 2, 1, 0] = torch.nan
    _, gradients = trained(model, batch, "clean_state", torch.bfloat16)
    assert not torch.stack([g.norm() for g in gradients.values()]).norm().isfinite()


def tokens(**options: Any) -> Tensor:
    return torch.zeros(1, 2, 4, 8, **({"requires_grad": True} | options))


def operations(tokens: Tensor) -> Operations:
    return operations_for(tokens, compiled_operations)


def test_kernels_are_for_gradients_in_float32_on_the_cpu() -> None:
    require_kernels()
    assert isinstance(operations(tokens()), CompiledOperations)
    assert operations(tokens(requires_grad=False)) is TORCH
    assert operations(tokens(dtype=torch.float64)) is TORCH
    assert operations(tokens(device="meta")) is TORCH
    with torch.no_grad():
        assert operations(tokens()) is TORCH
    with targets_of_training():
        assert isinstance(operations(tokens()), CompiledOperations)
    with torch.autocast("cpu", torch.float16):
        assert operations(tokens()) is TORCH


def switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS, "0")


def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")


def with_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -c exit(1)")


@pytest.mark.parametrize("lack", [switched_off, without_a_compiler, with_a_compiler_that_fails])
def test_without_kernels_training_goes_on_as_written(
    monkeypatch: pytest.MonkeyPatch, lack: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Any,
) -> None:  # fmt: skip
    model = model_of("sizes that fit no register")
    batch = windows(model)
    total, gradients = by_reference(monkeypatch, model, batch, "clean_state", torch.float32)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget_libraries()
    lack(monkeypatch)
    again, others = trained(model, batch, "clean_state", torch.float32)
    forget_libraries()
    assert total == again
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def test_a_compiled_layer_is_torchs_own_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    require_kernels()
    model = model_of("attention alone")
    batch = windows(model)
    right_total, right = by_reference(monkeypatch, model, batch, "clean_state", torch.float32)
    monkeypatch.setattr(CompiledOperations, "enter", None)
    for layer in model.dynamics.layers:
        layer.compile(backend="eager")
    total, gradients = trained(model, batch, "clean_state", torch.float32)
    assert total == pytest.approx(right_total, rel=1e-5)
    assert max(distance(gradients, right).values()) < 1e-4


def test_layers_computed_again_for_the_gradient_have_the_same_one() -> None:
    require_kernels()
    model = model_of()
    batch = windows(model)
    total, gradients = trained(model, batch, "clean_state", torch.float32)
    model.dynamics.checkpoint_activations = True
    again, others = trained(model, batch, "clean_state", torch.float32)
    assert total == again
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def test_parts_too_large_for_the_kernels_run_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_kernels()
    model = model_of()
    batch = windows(model)
    _, right = by_reference(monkeypatch, model, batch, "clean_state", torch.float32)
    monkeypatch.setattr(compiled, "MOST_HEAD_BYTES", 1)
    monkeypatch.setattr(compiled, "MOST_BLOCK_TOKENS", 0)
    monkeypatch.setattr(CompiledOperations, "_scan", None)
    monkeypatch.setattr(CompiledOperations, "_attend", None)
    _, gradients = trained(model, batch, "clean_state", torch.float32)
    assert max(distance(gradients, right).values()) < 1e-4


def test_memory_that_wants_a_gradient_gets_it() -> None:
    require_kernels()
    model = model_of()
    batch = windows(model)
    state = model.dynamics.initial_state(2)
    state = replace(state, frames=state.frames + 5, layers=[
        {name: torch.randn_like(x).requires_grad_(True) for name, x in layer.items()}
        for layer in state.layers
    ])  # fmt: skip
    losses, _ = dynamics_loss(
        model.dynamics, model.head, batch, ObjectiveConfig(), torch.Generator(), state
    )
    losses["total"].backward()
    assert all(
        bool(layer[name].grad.abs().sum() > 0)  # type: ignore[union-attr]
        for layer in state.layers
        for name in ("ssm", "conv", "values")
    )
