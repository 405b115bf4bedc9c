"""Nothing is taken for granted that only some systems have: modules, encodings, signals."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("dreamenv", "agents", "experiments", "scripts", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("**/*.py"))

AS_ON_WINDOWS = """
import os, signal, sys
import matplotlib.pyplot, multiprocessing.resource_tracker, stable_baselines3, torch, zarr
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None  # to import it is an ImportError
for module, names in (
    (os, ("fork", "sysconf", "sched_getaffinity", "getuid", "geteuid", "killpg", "uname")),
    (signal, ("pthread_sigmask", "SIGKILL", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK")),
):
    for name in names:
        delattr(module, name)
import importlib, pkgutil
import dreamenv
for module in pkgutil.walk_packages(dreamenv.__path__, "dreamenv."):
    try:
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name != "triton":  # an extra that few have
            raise
"""
STEP = """
import sys
from dreamenv.dream.env import DreamEnv
env = DreamEnv(checkpoint=sys.argv[1], horizon=4)
env.reset(seed=0)
print(env.step(env.action_space.sample())[0].shape)
"""


def run(program: str, checkpoint: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)],
        env=os.environ | environment, capture_output=True, encoding="utf-8",
    )  # fmt: skip


def test_every_module_is_imported_and_dreams_are_stepped_without_what_windows_lacks(
    debug_checkpoint: Path,
) -> None:
    done = run(AS_ON_WINDOWS + STEP, debug_checkpoint)
    assert done.stdout.split("\n")[-2:] == ["(64, 64, 3)", ""], done.stderr


@pytest.mark.parametrize("kernels", ["0", "1"])
def test_a_locale_of_another_encoding_changes_nothing(
    debug_checkpoint: Path, tmp_path: Path, kernels: str
) -> None:
    """ASCII stands for GBK and the like, which may not be installed: it decodes still less."""
    done = run(
        "import locale; assert locale.getpreferredencoding(False) not in ('utf-8', 'UTF-8')\n"
        + STEP, debug_checkpoint, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0",
        DREAMENV_KERNELS=kernels, XDG_CACHE_HOME=str(tmp_path),
    )  # fmt: skip
    assert done.stdout == "(64, 64, 3)\n", done.stderr


def test_commands_print_what_the_terminal_cannot_show(tmp_path: Path) -> None:
    """The error names a folder, whose name is not ASCII."""
    command = [sys.executable, "-m", "dreamenv", "inspect", str(tmp_path / "größe")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="ascii", cwd=ROOT)
    assert done.returncode == 2 and "gr??e" in done.stderr, done.stderr


def unnamed_encodings(source: str) -> Iterator[int]:
    """Lines that read or write text in the locale's encoding."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else None
        if isinstance(call.func, ast.Name):
            name = call.func.id
        if ast.unparse(call.func) == "os.open":  # a descriptor, of bytes
            continue
        keywords = {keyword.arg for keyword in call.keywords}
        texts = [a.value for a in call.args if isinstance(a, ast.Constant)]
        modes = [str(k.value.value) for k in call.keywords
                 if k.arg == "mode" and isinstance(k.value, ast.Constant)]  # fmt: skip
        binary = any("b" in str(text) for text in [*texts, *modes] if len(str(text)) <= 3)
        named = "encoding" in keywords or "utf-8" in texts
        raw = ast.unparse(call.func) in (  # of bytes, or of a page
            "os.open", "archive.open", "Image.open", "webbrowser.open", "av.open",
        )  # fmt: skip
        text = name in ("open", "fdopen", "NamedTemporaryFile") and not binary and not raw
        text |= name in ("read_text", "write_text", "TextIOWrapper")
        text |= bool(keywords & {"text", "universal_newlines"})
        if text and not named:
            yield call.lineno


def test_every_text_says_its_encoding() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in unnamed_encodings(path.read_text("utf-8"))
    ]
    assert not found, "say encoding='utf-8' here"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("open(p)", True), ("open(p, 'a')", True), ("p.open('w', encoding='utf-8')", False),
        ("p.open('rb')", False), ("open(p, mode='wb')", False), ("p.read_text()", True),
        ("p.read_text('utf-8')", False), ("p.write_text(t)", True),
        ("subprocess.run(c, text=True)", True), ("subprocess.run(c, encoding='utf-8')", False),
    ],
)  # fmt: skip
def test_such_lines_are_found(source: str, found: bool) -> None:
    assert list(unnamed_encodings(source)) == [1] * found
