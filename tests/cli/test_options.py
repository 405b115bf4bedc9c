"""Dataclasses as options, and the verbs of the `dreamenv` command."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dreamenv.cli import VERBS, main, module_of
from dreamenv.cli.options import parse, read_mapping
from dreamenv.training.config import TrainConfig

REQUIRED = ["--data", "a", "--held-out", "b", "--out", "c"]


@dataclass(frozen=True)
class Inner:
    rate: float
    count: int = 2


@dataclass(frozen=True)
class Middle:
    inner: Inner = field(default_factory=lambda: Inner(0.5))
    word: str = "w"


@dataclass(frozen=True)
class Outer:
    path: str
    some_number: int = 3
    flag: bool = False
    middle: Middle = field(default_factory=Middle)
    given: dict[str, Any] = field(default_factory=dict)


def read(*arguments: str) -> Outer:
    return parse(Outer, "for-tests", arguments)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed to stderr, without the box that it stands in."""
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_defaults_and_types() -> None:
    assert read("--path", "x") == Outer("x")
    found = read("--path=x", "--some-number", "7", "--flag", "--middle.word", "hello")
    assert found == Outer("x", 7, True, Middle(word="hello"))
    assert read("--path=x", "--flag", "--no-flag").flag is False


def test_nested_options_keep_the_defaults_of_their_place() -> None:
    """`Inner.rate` has no default of its own; the one of its place is kept."""
    found = read("--path", "x", "--middle.inner.count", "9")
    assert found.middle.inner == Inner(0.5, 9)
    rate = read("--path", "x", "--middle.inner.rate", "1e-3").middle.inner.rate
    assert rate == pytest.approx(1e-3) and isinstance(rate, float)


def test_mappings_are_pairs_that_nest_or_one_json_object() -> None:
    pairs = ("horizon=256", "checkpoint=runs/maze", "random=true", "a.b.c=[1, 2]", "a.d=")
    expected = {
        "horizon": 256, "checkpoint": "runs/maze", "random": True,
        "a": {"b": {"c": [1, 2]}, "d": ""},
    }  # fmt: skip
    assert read("--path", "x", "--given", *pairs, "--flag") == Outer("x", 3, True, given=expected)
    assert read("--path", "x", "--given", '{"horizon": 256}').given == {"horizon": 256}
    for words, message in [
        (["a"], "key=value"), (["=1"], "key=value"), (["a=1", "a=2"], "twice"),
        (["a=1", "a.b=2"], "a value of its own"), (["a..b=1"], "key=value"),
        (["{a: 1}"], "no JSON"), (["[1]"], "must be a JSON object"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            read_mapping(words)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--path"),
        (["--path", "x", "--colour", "red"], "--colour"),
        (["--path", "x", "--middle.inner.colour", "red"], "--middle.inner.colour"),
        (["--path", "x", "--some-number", "1.5"], "'1.5'"),
        (["--path", "x", "--middle.inner.rate", "fast"], "'fast'"),
        (["--path", "x", "--given", "colour"], "'colour' is not of the form key=value"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read(*arguments)
    assert caught.value.code == 2
    assert message in said(capsys)


def test_training_options_reach_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    given = [*REQUIRED, "--dynamics.steps", "12", "--objective.scheme=clean_state"]
    run = parse(TrainConfig, "dreamenv train", given)
    assert run.dynamics.steps == 12 and run.tokenizer.steps == 6000
    assert run.dynamics == TrainConfig("a", "b", "c", dynamics=run.dynamics).dynamics
    for option, message in [
        (["--objective.scheme", "magic"], "unknown scheme 'magic'"),
        (["--tokenizer.learning-rate", "0"], "learning_rate > 0"),
        (["--window", "1"], "at least 2 frames"),
    ]:
        with pytest.raises(SystemExit) as caught:
            parse(TrainConfig, "dreamenv train", [*REQUIRED, *option])
        assert caught.value.code == 2 and message in said(capsys)


def test_options_of_the_last_version_still_work_and_say_their_new_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = import_module("dreamenv.cli.train_agent").Options
    command = ["--env", "E-v0", "--out", "o", "--set", "n_steps=64"]
    with pytest.warns(DeprecationWarning, match="--set is called --hyperparameters now"):
        assert parse(options, "dreamenv train-agent", command).hyperparameters == {"n_steps": 64}
    assert "--set is called --hyperparameters now" in capsys.readouterr().err


def test_the_package_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (([], 0), (["--help"], 0), (["dream"], 2), (["rollouts"], 2)):
        assert main(arguments) == code
        out = capsys.readouterr().out
        assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_every_option(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: dreamenv {verb}" in text
    undocumented = list(without_docstring(import_module(module_of(verb)).Options))
    assert not undocumented, "say below the field what it is"


def without_docstring(kind: type) -> list[str]:
    """Fields of a dataclass, and of those inside it, that no docstring follows."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    said = {
        statement.target.id
        for statement, after in zip(body, body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr)
    }
    found = []
    for entry in fields(kind):
        default = entry.default
        if default is MISSING and entry.default_factory is not MISSING:
            default = entry.default_factory()
        inner = type(default) if is_dataclass(default) else None
        if inner is not None:
            found += without_docstring(inner)
        elif entry.name not in said and entry.name != "config":
            found.append(f"{kind.__name__}.{entry.name}")
    return found


def test_a_users_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nowhere" in error and error.count("\n") == 1


def test_modules_beside_the_user_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installed command, unlike `python -m`, starts without the present folder on its path."""
    (tmp_path / "world_of_mine.py").write_text("print('found')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    collect = ["collect", "--env", "world_of_mine:Nothing-v0", "--frames", "1", "--out", "s"]
    assert main(collect) == 2
    assert "found" in capsys.readouterr().out
