"""What Python believes of the compiled functions is what C says."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from dreamenv.world_model.runtime.cpu import compiler, tile_decoder, tile_stepper
from dreamenv.world_model.runtime.cpu.declarations import (
    ALWAYS,
    OF_TRAINING,
    ON_TILES,
    declare,
    require_sizes,
)
from dreamenv.world_model.runtime.cpu.training import kernels as training

FILES = [*Path(compiler.FOLDER).glob("*.c"), *Path(compiler.TRAINING_FOLDER).glob("*.c")]
SOURCES = "\n".join(path.read_text("utf-8") for path in sorted(FILES))
KINDS = {"long": ctypes.c_long, "int": ctypes.c_int}


def in_c(name: str) -> tuple[type, ...]:
    """The arguments of a function as its definition in C has them."""
    (arguments,) = re.findall(rf"^void {name}\(([^)]*)\)", SOURCES, re.M)
    return tuple(
        ctypes.c_void_p if "*" in each else KINDS[each.split()[0]] for each in arguments.split(",")
    )


@pytest.mark.parametrize("name", [*ALWAYS, *ON_TILES, *OF_TRAINING])
def test_every_signature_is_that_of_the_source(name: str) -> None:
    assert {**ALWAYS, **ON_TILES, **OF_TRAINING}[name] == in_c(name)


@pytest.mark.parametrize(
    "name",
    [*tile_stepper.STRUCTURES, *tile_decoder.STRUCTURES, "Head", *training.STRUCTURES],
)
def test_every_structure_that_is_shared_tells_its_size(name: str) -> None:
    assert f"SIZE_OF({name})" in SOURCES


class Library:
    """Stands for a library with some functions."""

    def __init__(self, **functions: object) -> None:
        self.__dict__ |= functions


def test_a_library_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OSError, match="no function residual_norm"):
        declare(Library(), tiles=False)  # type: ignore[arg-type]

    class Pair(ctypes.Structure):
        _fields_ = [("a", ctypes.c_long), ("b", ctypes.c_long)]

    def sixteen() -> int:
        return 16

    def eight() -> int:
        return 8

    require_sizes(Library(size_of_Pair=sixteen), {"Pair": Pair})  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Pair has 8 bytes in C and 16 in Python"):
        require_sizes(Library(size_of_Pair=eight), {"Pair": Pair})  # type: ignore[arg-type]
