"""Compiles the C of `kernels/` at first use, for one architecture, and keeps the result.

A C compiler makes a dream's step on the CPU about twice as fast as torch's own operations do. It
is asked for once per architecture, takes a few seconds, and is never needed: without one, or with
`DREAMENV_KERNELS=0` in the environment, dreams run on torch operations.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).with_name("csrc")
SWITCH = "DREAMENV_KERNELS"
BASE_FLAGS = (
    "-O3", "-march=native", "-std=c11", "-shared", "-fPIC",
    # Of -ffast-math what lets sums be vectorised, not what would change the whole process:
    # linked so, a library flushes denormal numbers to zero wherever it is loaded.
    "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math",
    "-freciprocal-math",
    "-ffp-contract=fast",  # one instruction for a · b + c, which standard C would forbid
)  # fmt: skip
EXTRA_FLAGS = (
    # The last two are GCC's: loops of a few rounds stay loops, or small models take a minute.
    ("-fopenmp", "-mprefer-vector-width=512", "-fno-tree-slp-vectorize",
     "--param=max-completely-peel-times=4"),
    ("-fopenmp",),
    (),
)  # fmt: skip
"""Tried in this order, because not every compiler and machine knows them."""

logger = logging.getLogger(__name__)


@lru_cache(maxsize=16)
def load_kernels(**sizes: int) -> ctypes.CDLL | None:
    """The kernels with these constants defined, or None where they cannot be had."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if os.environ.get(SWITCH, "1") == "0" or compiler is None:
        return None
    defines = [f"-D{name}={value}" for name, value in sorted(sizes.items())]
    try:
        return ctypes.CDLL(str(_compiled(compiler, defines)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        logger.info("dreams run without compiled kernels: %s", error)
        return None


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's numbers begin, as kernels take it."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def batch(slots: int) -> tuple[ctypes.c_long, ctypes.c_int]:
    """What every kernel takes first: the number of slots, and of threads to share them.

    A thread without a slot would only be waited for.
    """
    return ctypes.c_long(slots), ctypes.c_int(min(slots, torch.get_num_threads()))


def _compiled(compiler: str, defines: list[str]) -> Path:
    """The shared library, from the user's cache if it is there."""
    sources = sorted(FOLDER.glob("*.c"))
    texts = [path.read_text("utf-8") for path in (*sources, *sorted(FOLDER.glob("*.h")))]
    what = [*texts, compiler, *defines, *BASE_FLAGS, str(EXTRA_FLAGS), _processor()]
    name = hashlib.sha256("\n".join(what).encode()).hexdigest()[:32]
    folder = _cache_folder()
    library = folder / f"{name}.so"
    if library.exists():
        return library
    descriptor, unfinished = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(descriptor)
    try:
        for flags in EXTRA_FLAGS:
            command = [
                compiler,
                *BASE_FLAGS,
                *flags,
                *defines,
                *map(str, sources),
                "-lm",
            ]
            done = subprocess.run(
                [*command, "-o", unfinished], capture_output=True, encoding="utf-8", timeout=900
            )
            if done.returncode == 0:
                os.replace(unfinished, library)
                return library
        raise OSError(f"{compiler} failed: {done.stderr.strip()[-500:]}")
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _cache_folder() -> Path:
    """A folder of this user alone; what lies in it is executed."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "dreamenv"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return "".join(dict.fromkeys(x for x in lines if x.startswith(("flags", "model", "Features"))))
