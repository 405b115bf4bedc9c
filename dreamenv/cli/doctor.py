"""`dreamenv doctor`: what runs on this machine, what does not and why, and what to install."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from dreamenv.core.errors import DreamEnvError
from dreamenv.real.plugin import families
from dreamenv.rollouts.pictures import as_recorded

PACKAGES = ("gymnasium", "numpy", "torch", "zarr", "safetensors", "tyro")
EXTRAS = {
    "agents": ("stable-baselines3", "sb3-contrib"),
    "play": ("pygame", "moviepy", "fastapi", "uvicorn", "websockets", "imageio-ffmpeg"),
    "lpips": ("torchvision",),
    "cuda": ("mamba-ssm", "triton"),
}
"""Extra → the packages that it brings; families of environments name their own."""
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


@dataclass(frozen=True)
class Options:
    """What to look at."""

    checkpoint: str = "bundled"
    """Model whose runtime is asked for: bundled, bundled:NAME, or a folder."""
    render: bool = True
    """Draw a frame of every family of real environments that is installed."""


def run(options: Options) -> int:
    """Print a line for everything; 0 if all that is installed works, else 1."""
    fine = True
    for title, lines in (
        ("versions", _versions()),
        ("extras", _extras()),
        ("processor", _processor()),
        ("dreaming", _dreaming(options.checkpoint)),
        ("real environments", _real(options.render)),
    ):
        print(title)
        for works, line in lines:
            print(f"  {'ok  ' if works else 'FAIL' if works is False else '-   '}{line}")
            fine = fine and works is not False
    return 0 if fine else 1


Line = tuple[bool | None, str]
"""Whether it works, None where it is not installed or only told, and what to print."""


def _versions() -> Iterator[Line]:
    import dreamenv

    yield True, f"dreamenv {dreamenv.__version__}, Python {platform.python_version()}"
    yield True, ", ".join(f"{name} {_version(name) or 'is missing'}" for name in PACKAGES)


def _extras() -> Iterator[Line]:
    for extra, names in EXTRAS.items():
        found = {name: _version(name) for name in names}
        told = ", ".join(f"{name} {version or 'is missing'}" for name, version in found.items())
        hint = "" if all(found.values()) else f'; pip install "dreamenv[{extra}]"'
        yield True if all(found.values()) else None, f"{extra}: {told}{hint}"


def _processor() -> Iterator[Line]:
    import torch

    from dreamenv.core.machine import processor
    from dreamenv.world_model.runtime.cpu.compiler import processor_flags

    flags = [name for name in FLAGS if name in processor_flags()]
    yield True, f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    yield None, f"of the instructions that matter it has {', '.join(flags) or 'none'}"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield True, f"cuda:{index} {torch.cuda.get_device_name(index)}"
    else:
        yield None, "no CUDA device: dreams run on the processor"


def _dreaming(checkpoint: str) -> Iterator[Line]:
    import torch

    from dreamenv.dream.loading import load_for_dreaming
    from dreamenv.dream.registration import DEFAULT_CHECKPOINT
    from dreamenv.world_model.runtime.cpu.compiler import CompilationError, find_compiler
    from dreamenv.world_model.runtime.cpu.library import cache_folder
    from dreamenv.world_model.runtime.select import explain

    try:
        yield True, f"C compiler: {' '.join(find_compiler())}"
    except CompilationError as error:
        yield None, f"compiled kernels: {error}"
    try:
        yield True, f"compiled kernels are kept in {cache_folder()}"
    except OSError as error:
        yield None, f"compiled kernels cannot be kept: {error}"
    try:
        name = DEFAULT_CHECKPOINT if checkpoint == "bundled" else checkpoint
        model = load_for_dreaming(name).model
    except DreamEnvError as error:
        yield False, f"{checkpoint}: {error}"
        return
    half = model.compute_dtype != torch.float32
    dtype = model.compute_dtype if half else torch.float32
    *lacking, used = explain(model.dynamics, model.tokenizer, dtype)
    for line in lacking:
        yield None, line
    yield True, f"{checkpoint} dreams on {model.device} in {str(dtype)[6:]} by {used}"


def _real(render: bool) -> Iterator[Line]:
    import gymnasium

    for family in families():
        first = family.ids[0].id
        if not render:
            yield None, f"{family.name}: {', '.join(env.id for env in family.ids)}"
            continue
        try:
            env = as_recorded(gymnasium.make(first))
            frame, _ = env.reset(seed=0)
            env.close()
        except DreamEnvError as error:
            yield None, f"{family.name}: {error}"
        except Exception as error:  # whatever a simulator meets first; this is the place to say it
            yield False, f"{family.name}: {first} fails with {type(error).__name__}: {error}"
        else:
            how = os.environ.get("MUJOCO_GL", "its own renderer")
            yield True, f"{family.name}: {first} draws frames of {frame.shape} ({how})"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
