"""Runs the C compiler over a folder of sources, for this processor."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).with_name("csrc")
TRAINING_FOLDER = Path(__file__).with_name("csrc_training")
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
TIMEOUT = 900
"""Seconds after which a compiler is given up."""
TILE_FLAGS = {"amx_tile", "amx_bf16", "avx512_bf16"}


class CompilationError(Exception):
    """There is no compiler, or it failed.

    Attributes:
        lasting: whether it would fail again; one that was killed may have lacked memory.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True)
class Build:
    """One library to be: a compiler, the constants that sources are compiled with, and these."""

    compiler: tuple[str, ...]
    defines: tuple[str, ...]
    folder: Path = FOLDER

    @property
    def name(self) -> str:
        """Hash of everything that decides what is compiled, or why it cannot be."""
        files = {*self.folder.glob("*.[ch]"), *FOLDER.glob("*.h")}  # which all may include
        sources = [path.read_text("utf-8") for path in sorted(files)]
        # A compiler that was replaced may do what the one before could not.
        program = os.stat(self.compiler[0])
        machine = processor(), *platform.libc_ver(), program.st_size, program.st_mtime_ns
        what = [*sources, *self.compiler, *self.defines, *BASE_FLAGS, EXTRA_FLAGS, *machine]
        return hashlib.sha256("\n".join(map(str, what)).encode()).hexdigest()[:32]

    def __call__(self, library: Path) -> None:
        """Compile into a file; what compilers write on their way goes beside it.

        Raises:
            CompilationError: the compiler cannot be run, fails, or does not end.
        """
        environment = os.environ | {"TMPDIR": str(library.parent), "LC_ALL": "C"}
        sources = map(str, sorted(self.folder.glob("*.c")))
        rest = [*self.defines, *sources, "-lm", "-o", str(library)]
        for flags in EXTRA_FLAGS:
            try:
                done = subprocess.run(
                    [*self.compiler, *BASE_FLAGS, *flags, *rest], env=environment,
                    capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                raise CompilationError(str(error)) from error
            if done.returncode == 0:
                return
            if done.returncode < 0:
                raise CompilationError(f"{self.compiler[0]} died of signal {-done.returncode}")
        reason = done.stderr.strip()[-500:] or f"it exits with {done.returncode}"
        raise CompilationError(f"{shlex.join(self.compiler)} failed: {reason}", lasting=True)


def find_compiler() -> tuple[str, ...]:
    """The C compiler's program and its first arguments: `CC`, else cc, gcc or clang.

    Raises:
        CompilationError: there is none, or `CC` names none.
    """
    if os.name != "posix":
        raise CompilationError("they are compiled on Linux and macOS only")
    wish = os.environ.get("CC", "")
    try:
        words = shlex.split(wish)
    except ValueError as error:
        raise CompilationError(f"CC={wish!r} in the environment is no command: {error}") from error
    for name in words[:1] or ("cc", "gcc", "clang"):
        program = shutil.which(name)
        if program is not None:
            return os.path.abspath(program), *words[1:]
    if words:
        raise CompilationError(f"CC={wish!r} in the environment names no program that is here")
    raise CompilationError("there is no C compiler (cc, gcc, clang) on the PATH; install one")


def has_tiles() -> bool:
    """Whether the processor multiplies tiles of bfloat16 (Intel's AMX), as far as Linux tells."""
    return processor_flags() >= TILE_FLAGS


def processor_flags() -> set[str]:
    """The instruction sets of the processor by their names in Linux; elsewhere none."""
    flags = [line.split() for line in processor().splitlines() if line.startswith("flags")]
    return set(flags[0]) if flags else set()


@lru_cache(maxsize=1)
def processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.platform()} {platform.processor()}"
    wanted = ("flags", "model", "Features", "CPU implementer", "CPU part")
    return "\n".join(dict.fromkeys(x for x in lines if x.startswith(wanted)))
