"""Configurations as options, and the commands of `python -m dreamenv`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from dreamenv.__main__ import COMMANDS, main
from dreamenv.cli.config_options import parse_config
from dreamenv.core.errors import ConfigError
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


def parse(*arguments: str) -> Outer:
    return parse_config(Outer, "for tests", list(arguments))


def test_defaults_and_types() -> None:
    assert parse("--path", "x") == Outer("x")
    found = parse("--path=x", "--some-number", "7", "--flag", "--middle.word", "hello")
    assert found == Outer("x", 7, True, Middle(word="hello"))
    assert parse("--path=x", "--flag", "--no-flag").flag is False


def test_nested_options_keep_the_defaults_of_their_place() -> None:
    """`Inner.rate` has no default of its own; the one of its place is kept."""
    found = parse("--path", "x", "--middle.inner.count", "9")
    assert found.middle.inner == Inner(0.5, 9)
    rate = parse("--path", "x", "--middle.inner.rate", "1e-3").middle.inner.rate
    assert rate == pytest.approx(1e-3) and isinstance(rate, float)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --path"),
        (["--path", "x", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["--path", "x", "--middle.inner.colour", "red"], "--middle.inner.colour"),
        (["--path", "x", "--some-number", "1.5"], "invalid int value: '1.5'"),
        (["--path", "x", "--middle.inner.rate", "fast"], "invalid float value: 'fast'"),
        (["--path", "x", "--some_number", "1"], "unrecognized arguments: --some_number"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_config(TrainConfig, "Train a world model.", ["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "Train a world model." in text and "--dynamics.learning-rate" in text
    for option in fields(TrainConfig):
        assert "--" + option.name.replace("_", "-") in text
    assert "default: 20000" in text


def test_training_options_reach_their_place() -> None:
    run = parse_config(
        TrainConfig, "", [*REQUIRED, "--dynamics.steps", "12", "--objective.scheme=clean_state"]
    )
    assert run.dynamics.steps == 12 and run.tokenizer.steps == 6000
    assert run.dynamics == TrainConfig("a", "b", "c", dynamics=run.dynamics).dynamics
    with pytest.raises(ConfigError, match="unknown scheme 'magic'"):
        parse_config(TrainConfig, "", [*REQUIRED, "--objective.scheme", "magic"])
    with pytest.raises(ConfigError, match="learning_rate > 0"):
        parse_config(TrainConfig, "", [*REQUIRED, "--tokenizer.learning-rate", "0"])


def test_the_package_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (([], 0), (["--help"], 0), (["dream"], 2), (["rollouts"], 2)):
        assert main(arguments) == code
        out = capsys.readouterr().out
        assert all(" ".join(words) in out for words in COMMANDS)


@pytest.mark.parametrize("words", list(COMMANDS), ids=" ".join)
def test_every_command_explains_itself(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    assert f"usage: python -m dreamenv {' '.join(words)}" in capsys.readouterr().out


def test_a_users_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", "inspect", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nowhere" in error and error.count("\n") == 1
