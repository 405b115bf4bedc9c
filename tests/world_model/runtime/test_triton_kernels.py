"""Triton's kernels imagine what the reference path imagines; see `triton_here`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dreamenv.core.settings import KERNELS
from dreamenv.world_model.config import ActionConfig, SamplerConfig, WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.mamba_kernels import load_kernel
from dreamenv.world_model.runtime.cuda.stepper import TritonStepper, load_triton
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.select import make_stepper
from dreamenv.world_model.state import State
from tests.world_model.models import random_actions, random_frames, tiny_config, tiny_model
from tests.world_model.triton_here import (
    DEVICE,
    HAS_TRITON,
    INTERPRETED,
    needs_triton,
    pretend_cuda,
)

CONFIGS: dict[str, WorldModelConfig] = {
    "every block size": tiny_config({"scan_blocks": ((4, 4), (1, 1), (2, 2))}, frame_size=(64, 64)),
    "sizes that are no powers of two": tiny_config(
        {
            "width": 24,
            "attention_head_dim": 6,
            "ssm_head_dim": 48,
            "attention_window": 3,
            "scan_blocks": ((2, 3), (1, 1)),
        },
        frame_size=(32, 48),
    ),
    "box of actions, three passes, context noise": tiny_config(
        actions=ActionConfig(low=(-1.0, 0.0), high=(1.0, 20.0)),
        sampler=SamplerConfig(steps=3, context_noise=0.25),
    ),
}


@pytest.fixture(autouse=True)
def kernels_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere in these tests they are not."""
    monkeypatch.delenv(KERNELS, raising=False)


def actions_of(model: WorldModel, seed: int) -> Tensor:
    if model.config.actions.discrete:
        return random_actions(3, 1, seed)
    return torch.rand((3, 1, 2), generator=torch.Generator().manual_seed(seed))


def slots_of_different_age(model: WorldModel) -> State:
    """Four frames were seen in slot 0, one in slot 1, none in slot 2."""
    state = model.initial_state(3)
    for t in range(4):
        frames = random_frames(model.config, 3, 1, t).to(model.device)
        seen, _ = model.observe(state, frames, actions_of(model, t).to(model.device))
        state = state.merge(torch.tensor([True, t == 0, False], device=model.device), seen)
    return state


def imagined(model: WorldModel, state: State, reuse: bool) -> dict[str, Tensor]:
    """Everything that two imagined frames leave behind, in float64."""
    found: dict[str, Tensor | None] = {}
    for t in range(2):
        generator = torch.Generator().manual_seed(t)
        noise = torch.randn(model.noise_shape(3), generator=generator)
        given = actions_of(model, 10 + t)[:, 0].to(model.device), noise.to(state.latents)
        frames, outcome, state = model.imagine(state, *given, reuse=reuse)
        found |= {f"{t}.frames": frames, f"{t}.features": outcome.features}
        found |= {f"{t}.rewards": outcome.reward_probabilities}
        found |= {f"{t}.{name}": x.clone() for name, x in state.named_tensors()}
    return {name: x.double() for name, x in found.items() if x is not None}


def with_triton(model: WorldModel) -> WorldModel:
    kernels = load_triton()
    assert kernels is not None
    dtype = model.compute_dtype
    model.use(TritonStepper(model.dynamics, model.tokenizer, dtype, kernels))
    return model


@needs_triton
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_kernels_err_no_more_than_the_reference_does(
    config: WorldModelConfig,
) -> None:
    """Both in float32, against the reference in float64."""
    model = with_triton(tiny_model(config).float().to(DEVICE))
    start = slots_of_different_age(model)
    widened = State(
        [{name: x.double() for name, x in layer.items()} for layer in start.layers],
        start.latents.double(), start.level.double(), start.frames,
        landmarks={name: x.double() for name, x in start.landmarks.items()},
    )  # fmt: skip
    exact = imagined(tiny_model(config).to(DEVICE), widened, reuse=False)
    reference = imagined(model, start, reuse=False)
    got = imagined(model, start.clone(), reuse=True)
    assert isinstance(model._stepper, TritonStepper)
    worst = [0.0, 0.0]
    for name, wanted in exact.items():
        size = wanted.abs().max().clamp(min=1)
        error = (got[name] - wanted).abs().max() / size
        allowed = 3 * (reference[name] - wanted).abs().max() / size + 1e-5
        assert error < allowed, f"{name}: {error:.1e}"
        worst = [max(worst[0], float(error)), max(worst[1], float(allowed - 1e-5) / 3)]
    print(f"worst: {worst[0]:.1e}, of the reference {worst[1]:.1e}")


@needs_triton
def test_a_frame_scan_equals_mamba_ssm_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """`selective_state_update` is the recurrence with its gate, for one token at a time."""
    pretend_cuda(monkeypatch)
    update = load_kernel("selective_state_update", "selective_state_update")
    if update is None:
        pytest.skip("needs mamba-ssm and einops")
    config = CONFIGS["every block size"]
    model = with_triton(tiny_model(config).float().to(DEVICE))
    stepper = model.stepper()
    assert isinstance(stepper, TritonStepper)
    for weights, layer in zip(stepper._weights, stepper.layers, strict=True):
        scan, sequences = layer.scan, 3
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(DEVICE)  # noqa: B023

        sizes = stepper._convolution_sizes
        projected = draw(sequences, scan.length, sizes["WIDTH"])
        tail = draw(sequences, len(scan.taps) - 1, scan.channels)
        state = draw(sequences, scan.state_dim, scan.heads, scan.head_dim)
        out = torch.empty(sequences, scan.length, scan.inner, device=DEVICE)
        squares = torch.empty(sequences, scan.length, stepper._parts, device=DEVICE)
        theirs = state.permute(0, 2, 3, 1).contiguous()
        gate, mixed, dt = projected.split([scan.inner, scan.channels, scan.heads], -1)
        new_tail = tail.clone()
        convolved = scan._convolve(mixed, new_tail, keep=True)
        got = torch.empty_like(convolved)
        stepper.kernels.convolve[(sequences, 1)](
            projected, tail, *weights.convolution, got, LENGTH=scan.length, KEEP=True, **sizes
        )
        torch.testing.assert_close(got, convolved, atol=1e-5, rtol=1e-5)
        assert torch.equal(tail, new_tail)
        x, b, c = convolved.split([scan.inner, scan.state_dim, scan.state_dim], -1)
        stepper.kernels.scan[(sequences, stepper._parts)](
            projected, got, state, *weights.scan, out, squares,
            LENGTH=scan.length, KEEP=True, **stepper._scan_sizes,
        )  # fmt: skip

        def by_head(values: Tensor) -> Tensor:
            return values.view(-1, scan.heads, 1).expand(-1, -1, scan.head_dim)  # noqa: B023

        for i in range(scan.length):
            heads = (sequences, scan.heads, scan.head_dim)
            y = update(
                theirs, x[:, i].view(heads).contiguous(), by_head(dt[:, i]),
                by_head(scan.decay)[0, ..., None].expand(-1, -1, scan.state_dim),
                b[:, None, i], c[:, None, i], by_head(scan.skip)[0],
                gate[:, i].view(heads), by_head(scan.dt_bias)[0], dt_softplus=True,
            )  # fmt: skip
            torch.testing.assert_close(out[:, i], y.flatten(1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            state, theirs.permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4, check_stride=False
        )
        sums = out.square().sum(-1)
        torch.testing.assert_close(squares.sum(-1), sums, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(DEVICE == "cuda", reason="for machines without a GPU")
def test_without_triton_dreams_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS, "0")
    model = tiny_model().float()
    assert load_triton() is None
    stepper = make_stepper(model.dynamics, model.tokenizer, torch.float32)
    assert type(stepper) is FrameStepper


@pytest.mark.skipif(INTERPRETED or not HAS_TRITON, reason="needs Triton, not its interpreter")
@pytest.mark.parametrize("half", [True, False], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("architecture", [80, 90])
def test_kernels_compile_for_a_gpu_that_is_not_here(architecture: int, half: bool) -> None:
    """With the sizes of the preset `small`; the interpreter takes what the compiler does not."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernels, product = load_triton(), "*bf16" if half else "*fp32"
    of_products = ("projected", "tail", "product", "normed", "qkv", "keys", "values", "out")
    integers = {"which": "*i64", "frames": "*i64", "order": "*i32", "new_order": "*i32"}
    integers |= dict.fromkeys(("gate_at", "scale_at", "shift_at", "row_size"), "i32")
    for name, sizes in {
        "convolve": {"LENGTH": 16, "CHANNELS": 640, "WIDTH": 1160, "FIRST": 512, "TAPS": 4,
                     "KEEP": True, "BLOCK_C": 128},
        "scan": {"LENGTH": 16, "HEADS": 8, "HEAD_DIM": 64, "STATE_DIM": 64, "KEEP": True,
                 "BLOCK_N": 64, "BLOCK_P": 32},
        "residual_norm": {"TOKENS": 16, "WIDTH": 256, "PARTS": 16, "INNER": 512, "ADDS": True,
                          "MODULATES": True, "BLOCK_D": 256, "BLOCK_PARTS": 16},
        "attend": {"TOKENS": 16, "HEADS": 8, "HEAD_DIM": 32, "WINDOW": 4, "KEEP": True,
                   "BLOCK_T": 16, "BLOCK_D": 32},
    }.items():  # fmt: skip
        kernel = getattr(kernels, name)
        kinds = {
            x: "constexpr" if x in sizes else integers.get(
                x, product if x in of_products and (name, x) != ("convolve", "out") else "*fp32"
            )
            for x in kernel.arg_names
        }  # fmt: skip
        places = {(kernel.arg_names.index(x),): value for x, value in sizes.items()}
        source = ASTSource(fn=kernel, signature=kinds, constexprs=places)
        target = GPUTarget("cuda", architecture, 32)
        compiled = triton.compile(source, target=target)
        assert len(compiled.asm["cubin"]) > 0, name
