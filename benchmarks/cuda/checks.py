"""Whether what runs on CUDA computes what the reference path computes: errors against float64.

Every check runs the same inputs three times: by the reference path in float64, by the reference
path in the precision that is checked, and by the kernels. Errors are relative to the largest value
of the first. Rounding alone makes the second differ, so the third passes if its error is at most
twice that of the second, plus a tolerance for sums taken in another order. In float32 products
may be made of TF32 numbers, in both, as the scan's kernels always do it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dreamenv.core.settings import KERNELS
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.mamba_kernels import load_kernel
from dreamenv.world_model.network.ssd import ScanInputs, scan_by_kernel, ssd_scan
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from dreamenv.world_model.runtime.cuda.graphs import StepGraphs, cuda_capture
from dreamenv.world_model.runtime.cuda.stepper import TritonStepper, load_triton
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.state import State

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 1e-2}
"""Of the largest value."""
FACTOR = 2.0


@contextmanager
def kernels(on: bool) -> Iterator[None]:
    """Let kernels be chosen, or not, for as long as this lasts."""
    before = os.environ.get(KERNELS)
    os.environ[KERNELS] = "1" if on else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[KERNELS]
        else:
            os.environ[KERNELS] = before


@contextmanager
def tf32() -> Iterator[None]:
    """Let float32 products be made of TF32 numbers for as long as this lasts."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def compare(
    exact: dict[str, Tensor], reference: dict[str, Tensor], got: dict[str, Tensor],
    dtype: torch.dtype,
) -> dict[str, Any]:  # fmt: skip
    """Errors of every part, and whether those of `got` pass."""
    parts = {}
    for name, wanted in exact.items():
        size = wanted.abs().max().clamp(min=1e-12)
        errors = [float((x[name].double() - wanted).abs().max() / size) for x in (reference, got)]
        allowed = FACTOR * errors[0] + TOLERANCE[dtype]
        parts[name] = {
            "reference": errors[0], "kernels": errors[1], "allowed": allowed,
            "passes": errors[1] <= allowed,
        }  # fmt: skip
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "passes": all(part["passes"] for part in parts.values()),
        "parts": parts,
    }


def scans(
    device: torch.device,
    sequences: int,
    frames: int,
    heads: int,
    head_dim: int,
    state_dim: int,
    dtypes: Iterable[torch.dtype] = TOLERANCE,
) -> list[dict[str, Any]]:
    """mamba-ssm's chunk scan, with and without a reading stream, and all its gradients."""
    kernel = load_kernel("ssd_combined", "mamba_chunk_scan_combined")
    if kernel is None:
        raise ModuleNotFoundError("mamba-ssm's kernels do not import; see dreamenv[cuda]")
    rows = []
    for dtype in dtypes:  # kernels are tuned for each, so in float32 there is but one case
        for frame_tokens in (1, 4, 16) if dtype == torch.bfloat16 else (4,):
            for streams in (1, 2):
                draw = _Draw(device, dtype, 0)
                length = frames * frame_tokens
                given = []
                for _ in range(streams):
                    given += [draw(sequences, length, heads, head_dim)]
                    raw = draw(sequences, length, heads, wide=True)
                    given += [torch.nn.functional.softplus(raw - 2)]
                    given += [draw(sequences, length, state_dim) for _ in range(2)]
                given += [-1 - draw(heads, wide=True).abs()]
                given += [draw(sequences, state_dim, heads, head_dim, wide=True)]

                def run(scan: Callable[..., Any], wide: bool, tokens: int = frame_tokens,
                        given: list[Tensor] = given) -> dict[str, Tensor]:  # fmt: skip
                    leaves = [x.double() if wide else x for x in given]
                    leaves = [x.detach().clone().requires_grad_() for x in leaves]
                    *tokens_of, a, state = leaves
                    write = ScanInputs(*tokens_of[:4])
                    read = ScanInputs(*tokens_of[4:]) if len(tokens_of) > 4 else None
                    return _with_gradients(scan(write, a, state, tokens, read), leaves)

                def reference(write: ScanInputs, a: Tensor, state: Tensor, tokens: int,
                              read: ScanInputs | None) -> Any:  # fmt: skip
                    with kernels(False):
                        return ssd_scan(write, a, state, tokens, 64, read)

                def by_kernel(*args: Any) -> Any:
                    return scan_by_kernel(kernel, *args)

                with tf32():
                    row = compare(
                        run(reference, True), run(reference, False), run(by_kernel, False), dtype
                    )
                rows.append({"frame_tokens": frame_tokens, "streams": streams} | row)
    return rows


def _with_gradients(outputs: Any, leaves: list[Tensor]) -> dict[str, Tensor]:
    present = [x for x in outputs if x is not None]
    weights = _Draw(present[0].device, torch.float64, 1)
    total = torch.stack([(x.double() * weights(*x.shape)).sum() for x in present]).sum()
    gradients = torch.autograd.grad(total, leaves)
    found = {f"output {i}": x.detach() for i, x in enumerate(present)}
    return found | {f"gradient {i}": x for i, x in enumerate(gradients)}


def steps(
    model: WorldModel, slots: int, count: int, dtypes: Iterable[torch.dtype] = TOLERANCE
) -> list[dict[str, Any]]:
    """Triton's step, in place, of dreams of different age: frames, outcome and memory after."""
    triton = load_triton()
    if triton is None:
        raise ModuleNotFoundError("Triton does not import")
    rows = []
    for dtype in dtypes:
        model.compute_dtype = dtype
        start = aged_state(model, slots)
        steppers = [
            FrameStepper(model.dynamics, model.tokenizer, dtype),
            TritonStepper(model.dynamics, model.tokenizer, dtype, triton),
        ]
        found = []
        for stepper in steppers:
            stepper.graphs = StepGraphs(None)
            model.use(stepper)
            found.append(imagined(model, start.clone(), count))
        exact = imagined(_double(model), _as(start, torch.float64), count, reuse=False)
        rows.append(compare(exact, *found, dtype))
    return rows


def graphs(model: WorldModel, slots: int, count: int) -> dict[str, Any]:
    """Replayed graphs against the same kernels started one by one."""
    model.compute_dtype = torch.bfloat16
    start = aged_state(model, slots)
    found = []
    for capture in (None, cuda_capture):
        model.stepper().graphs = StepGraphs(capture)
        found.append(imagined(model, start.clone(), count))
    eager, replayed = found
    difference = max(float((eager[name] - x).abs().max()) for name, x in replayed.items())
    recorded = model.stepper().graphs.recorded
    return {"largest_difference": difference, "recorded": recorded,
            "passes": recorded == 1 and difference <= 1e-3}  # fmt: skip


def whole_model(model: WorldModel, rows: int, frames: int) -> list[dict[str, Any]]:
    """Watching real frames, and the gradients of training, with the scan's kernels."""
    results = []
    for dtype in TOLERANCE:
        model.compute_dtype = dtype
        found = [_watched_and_learnt(_double(model), rows, frames)]
        for on in (False, True):
            with kernels(on), tf32():
                found.append(_watched_and_learnt(model, rows, frames))
        results.append(compare(found[0], found[1], found[2], dtype))
    return results


def _watched_and_learnt(model: WorldModel, rows: int, frames: int) -> dict[str, Tensor]:
    device, config, wide = model.device, model.config, model.dynamics.position.dtype
    draw = _Draw(device, wide, 2)
    shape = (rows, frames, *model.noise_shape(1)[2:])
    actions = torch.zeros(rows, frames, dtype=torch.int64, device=device)
    if not config.actions.discrete:
        actions = draw(rows, frames, len(config.actions.low))
    state, outcome = model.observe_latents(model.initial_state(rows), draw(*shape), actions)
    found = {name: x.double() for name, x in state.named_tensors()}
    found["reward probabilities"] = outcome.reward_probabilities.double()
    rewards = torch.zeros(rows, frames, device=device, dtype=wide)
    batch = Batch(draw(*shape), actions, rewards, rewards.bool())
    model.dynamics.requires_grad_(True).zero_grad()
    objective, generator = ObjectiveConfig(scheme="clean_state"), torch.Generator().manual_seed(0)
    model.loss(batch, objective, generator)["total"].backward()
    for name, parameter in model.dynamics.named_parameters():
        if parameter.grad is not None:
            found[f"gradient of {name}"] = parameter.grad.double()
    model.dynamics.zero_grad()
    model.dynamics.requires_grad_(False)
    return found


def aged_state(model: WorldModel, slots: int) -> State:
    """Dreams of which the first half has seen five frames, the others one."""
    draw = _Draw(model.device, torch.float32, 3)
    state = model.initial_state(slots)
    half = torch.arange(slots, device=model.device) < max(1, slots // 2)
    for t in range(5):
        latents = draw(slots, 1, *model.noise_shape(1)[2:])
        seen, _ = model.observe_latents(state, latents, actions_of(model, slots, t).unsqueeze(1))
        state = state.merge(half | (t == 4), seen)
    return state


def actions_of(model: WorldModel, slots: int, seed: int) -> Tensor:
    """Random actions (slots, …)."""
    actions, generator = model.config.actions, torch.Generator().manual_seed(seed)
    if actions.discrete:
        return torch.randint(actions.n, (slots,), generator=generator).to(model.device)
    low, high = torch.tensor(actions.low), torch.tensor(actions.high)
    share = torch.rand(slots, len(low), generator=generator)
    return (low + (high - low) * share).to(model.device)


def imagined(model: WorldModel, state: State, count: int, reuse: bool = True) -> dict[str, Tensor]:
    """What `count` imagined frames leave behind, in float64."""
    found = {}
    for t in range(count):
        noise = _Draw(model.device, torch.float32, 10 + t)(*model.noise_shape(state.slots))
        actions = actions_of(model, state.slots, t)
        frames, outcome, state = model.imagine(state, actions, noise.to(state.latents), reuse=reuse)
        found[f"frames {t}"] = frames.double()
    found["reward probabilities"] = outcome.reward_probabilities.double()
    return found | {name: x.double() for name, x in state.named_tensors()}


def _double(model: WorldModel) -> WorldModel:
    """The same model in float64."""
    wide = copy.deepcopy(model).double()
    wide.compute_dtype = torch.float32  # that is: products are in the dtype of the weights
    return wide


def _as(state: State, dtype: torch.dtype) -> State:
    layers = [{name: x.to(dtype) for name, x in layer.items()} for layer in state.layers]
    return State(layers, state.latents.to(dtype), state.level.to(dtype), state.frames)


class _Draw:
    """Standard normal tensors, the same on every device; `wide` ones at least in float32."""

    def __init__(self, device: torch.device, dtype: torch.dtype, seed: int) -> None:
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, wide: bool = False) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        dtype = torch.promote_types(self.dtype, torch.float32) if wide else self.dtype
        return drawn.to(dtype).to(self.device)
