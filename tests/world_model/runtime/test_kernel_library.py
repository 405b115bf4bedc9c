"""Kernels are compiled once, kept safely, and never a reason to fail."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dreamenv.core.settings import KERNELS
from dreamenv.world_model.config import TokenizerConfig
from dreamenv.world_model.runtime.cpu import build
from dreamenv.world_model.runtime.cpu import compiler as compiling
from dreamenv.world_model.runtime.cpu.build import load_kernels
from dreamenv.world_model.runtime.cpu.compiler import find_compiler, has_tiles, processor
from dreamenv.world_model.runtime.select import make_stepper
from tests.world_model.models import tiny_config, tiny_model

SIZES = {"WIDTH": 8, "TAPS": 3}
LOAD = """
from dreamenv.world_model.runtime.cpu.compiler import Build, find_compiler
from dreamenv.world_model.runtime.cpu.library import load_library
load_library(Build(find_compiler(), ("-DTAPS=3", "-DWIDTH=8")))
print("loaded")
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small library, for compilers of tests to bring instead of working."""
    path = tmp_path_factory.mktemp("made") / "library.so"
    try:
        command = [*find_compiler(), "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
    except compiling.CompilationError:
        pytest.skip("there is no C compiler here")
    subprocess.run(command, input=b"int answer[4096] = {42};", check=True)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where kernels are kept in a test, made by the first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(KERNELS, raising=False)
    monkeypatch.delenv("CC", raising=False)
    forget()
    return tmp_path / "cache" / "dreamenv"


def forget() -> None:
    """Know as little as another process."""
    load_kernels.cache_clear()
    build._told.clear()


def count(calls: Path) -> int:
    return len(calls.read_text("utf-8").splitlines()) if calls.exists() else 0


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a compiler from shell commands; it writes its arguments into the file returned."""
    calls = tmp_path / "calls"

    def make(commands: str) -> Path:
        program = tmp_path / "compiler"
        program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{commands}\n', "utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("CC", str(program))
        return calls

    return make


@pytest.fixture
def working(made: Path, compiler: Callable[[str], Path]) -> Path:
    """A compiler that works; what it was called with."""
    return compiler(bring(made))


def bring(made: Path) -> str:
    """Commands of a compiler that works; the last argument is where to."""
    return f'for to; do :; done; exec cp {made} "$to"'


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.so"))


def test_compiling_is_announced_and_done_once(
    cache: Path, working: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_kernels(**SIZES) is not None
    assert [r.levelno for r in caplog.records if "compiling kernels (once" in r.message] == [
        logging.WARNING
    ]
    caplog.clear()
    for _ in range(2):
        forget()
        assert load_kernels(**SIZES) is not None
    assert count(working) == 1 and not caplog.records
    assert cache.stat().st_mode & 0o077 == 0


def test_failures_are_remembered_by_all_processes_for_a_day(
    cache: Path, compiler: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    calls = compiler("echo tiles are unknown >&2; exit 1")
    for _ in range(2):
        forget()
        caplog.clear()
        assert load_kernels(**SIZES) is None
        assert sum("tiles are unknown" in r.message for r in caplog.records) == 1
        assert count(calls) == len(compiling.EXTRA_FLAGS)
    tried = count(calls)
    (failed,) = cache.glob("*.failed")
    past = time.time() - 2 * 24 * 3600
    os.utime(failed, (past, past))
    forget()
    load_kernels(**SIZES)
    assert count(calls) == 2 * tried
    compiler("echo changed >&2; exit 1")  # another program may do what this one could not
    forget()
    load_kernels(**SIZES)
    assert count(calls) == 3 * tried


def test_a_compiler_that_was_killed_is_tried_again(
    cache: Path, compiler: Callable[[str], Path]
) -> None:
    calls = compiler("kill -KILL $$")
    for tries in (1, 2):
        forget()
        assert load_kernels(**SIZES) is None and count(calls) == tries
    assert [path.name for path in cache.iterdir()] == ["compiling.lock"]


@pytest.mark.parametrize(
    ("flags", "tiles"),
    [("sse avx512_bf16 avx512f", False), ("avx512_bf16 amx_bf16 amx_tile amx_int8", True)],
)
def test_tiles_are_compiled_for_processors_that_have_them(
    cache: Path, compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch,
    flags: str, tiles: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(compiling, "processor", lambda: f"flags\t: fpu {flags}\nmodel\t: 17")
    assert has_tiles() is tiles
    calls = compiler("exit 1")
    sizes = {"width": 32, "ssm_head_dim": 16, "ssm_state_dim": 4}
    tokenizer = TokenizerConfig(widths=(4, 4, 8), blocks=(1, 0, 1), latent_channels=16)
    model = tiny_model(tiny_config(sizes, tokenizer=tokenizer)).float()
    make_stepper(model.dynamics, model.tokenizer, torch.bfloat16)
    assert ("-DTILES=1" in calls.read_text("utf-8")) is tiles
    assert "-DTILES=0" in calls.read_text("utf-8")


def test_what_a_processor_is_told_by(monkeypatch: pytest.MonkeyPatch) -> None:
    processor.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        processor()

    def absent(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert processor() and not has_tiles()
    processor.cache_clear()


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_a_damaged_library_is_compiled_again(cache: Path, working: Path, damage: str) -> None:
    """In a process of its own: to load such a file is to die."""
    assert load_kernels(**SIZES) is not None
    (library,) = libraries(cache)
    whole = library.read_bytes()
    middle = len(whole) // 2
    flipped = bytes(x ^ 0xFF for x in whole[64:middle])
    damaged = {"cut": whole[:middle], "emptied": b"", "flipped": whole[:64] + flipped}
    library.unlink()  # this process has it mapped: to damage what is mapped is to die later
    library.write_bytes(damaged[damage] + (whole[middle:] if damage == "flipped" else b""))
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, encoding="utf-8")
    assert done.stdout == "loaded\n" and "is damaged" in done.stderr, done
    assert libraries(cache) == [library] and library.read_bytes() == whole


def test_two_at_once_compile_once(cache: Path, made: Path, compiler: Callable[[str], Path]) -> None:
    calls = compiler("sleep 1\n" + bring(made))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate() for process in both]
    assert [out for out, _ in said] == ["loaded\n", "loaded\n"], said
    assert count(calls) == 1 and len(libraries(cache)) == 1


def test_what_a_killed_process_left_is_cleaned(
    cache: Path, made: Path, compiler: Callable[[str], Path]
) -> None:
    calls = compiler('echo $$ > "$TMPDIR/number"; exec sleep 60')
    process = subprocess.Popen([sys.executable, "-c", LOAD])
    while not (number := [*cache.glob("unfinished-*/number")]) or not number[0].read_text("utf-8"):
        time.sleep(0.05)
    process.kill()
    process.wait()
    os.kill(int(number[0].read_text("utf-8")), signal.SIGKILL)
    assert count(calls) == 1 and list(cache.glob("unfinished-*"))
    compiler(bring(made))
    assert load_kernels(**SIZES) is not None
    assert {path.suffix for path in cache.iterdir()} == {".so", ".lock"}


def others_can_write(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)


def others_own_it(cache: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    cache.mkdir(parents=True)
    os.chown(cache, 12345, 12345)


def a_file_stands_there(cache: Path) -> None:
    cache.parent.write_text("", "utf-8")


@pytest.mark.parametrize("spoil", [others_can_write, others_own_it, a_file_stands_there])
def test_a_cache_that_is_not_safe_is_not_used(
    cache: Path, working: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None],
) -> None:  # fmt: skip
    spoil(cache)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {*tmp_path.rglob("*"), working}
    assert load_kernels(**SIZES) is not None
    (warned,) = caplog.records
    assert "compiled kernels cannot be kept" in warned.message and str(cache) in warned.message
    assert {*tmp_path.rglob("*")} == before, "something was left"


def test_a_library_that_others_could_write_is_compiled_again(cache: Path, working: Path) -> None:
    load_kernels(**SIZES)
    (library,) = libraries(cache)
    library.chmod(0o777)
    forget()
    assert load_kernels(**SIZES) is not None and count(working) == 2
    assert library.stat().st_mode & 0o022 == 0


def test_without_a_home_the_working_folder_stays_clean(
    cache: Path, working: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", "")
    for relative in ("", "some/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        forget()
        assert load_kernels(**SIZES) is not None
    assert "no home directory" in caplog.text and not list(place.iterdir())


def test_a_compiler_may_come_with_arguments(
    cache: Path, working: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", os.environ["CC"] + " -m64 '-DNAME=a b'")
    assert load_kernels(**SIZES) is not None
    assert working.read_text("utf-8").startswith("-m64 -DNAME=a b -O3 ")


@pytest.mark.parametrize(
    ("wish", "path", "told"),
    [
        (None, "", "no C compiler"),
        ("not-a-compiler -m64", None, "not-a-compiler -m64"),
        ("gcc 'unfinished", None, "is no command"),
    ],
)
def test_without_a_compiler_one_warning_says_what_is_lost(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    wish: str | None, path: str | None, told: str,
) -> None:  # fmt: skip
    if wish is not None:
        monkeypatch.setenv("CC", wish)
    if path is not None:
        monkeypatch.setenv("PATH", path)
    for window in (2, 3):
        assert load_kernels(**SIZES | {"WINDOW": window}) is None
    (warned,) = caplog.records
    assert told in warned.message and "half the speed" in warned.message
    assert KERNELS in warned.message


def test_who_switches_kernels_off_is_told_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KERNELS, "0")
    monkeypatch.setenv("PATH", "")
    assert load_kernels(**SIZES) is None and not caplog.records
