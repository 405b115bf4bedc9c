"""Values that make no sense end every command at once, with a message and without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamenv.cli import main

NUMBERS = ("-1", "nan", "x", "1e999")
TRAIN_AGENT = ("steps", "num-envs", "seed", "eval-every", "eval-episodes", "eval-seed")
RECIPE = {
    "n_steps": ("0", "-8", "8.5", "nan", '"8"', "true", "null", "[8]", "1e3"),
    "batch_size": ("1", "0", "x"),
    "n_epochs": ("0", "1.5"),
    "learning_rate": ("0", "-1", "NaN", "Infinity", "1e999", "true"),
    "learning_rate_end": ("-1",),
    "gamma": ("-0.1", "1.1", "x"),
    "gae_lambda": ("2",),
    "clip_range": ("0", "-1"),
    "ent_coef": ("-1",),
    "vf_coef": ("-1", "{}"),
    "max_grad_norm": ("0", "-1"),
    "features_dim": ("0", "-3"),
    "net_width": ("0",),
    "lstm_hidden_size": ("0",),
}
STAGE = {
    "steps": ("0", "-1", "x", "1.5"),
    "batch": ("0",),
    "learning-rate": ("0", "nan", "inf"),
    "warmup": ("-1",),
    "decay": ("-0.1", "2", "nan"),
    "weight-decay": ("-1", "nan"),
    "ema": ("1", "-1", "nan"),
}
TRAIN = {
    **{f"dynamics.{name}": values for name, values in STAGE.items()},
    "threads": ("-1", "x", "1.5"),
    "seed": ("-1", "x"),
    "preset": ("huge",),
    "dtype": ("float8",),
    "window": ("0", "-3"),
    "shortcut-passes": ("-1",),
    "self-forcing-from": ("-1", "2", "nan"),
    "shortcut-from": ("-1", "nan"),
    "objective.reward-weight": ("-1", "nan"),
    "objective.self-forcing-rounds": ("0",),
    "log-every": ("0",),
    "spawn-frames": ("0",),
}
GAP = {
    "spawns": ("0", "-1", "x"),
    "horizon": ("0",),
    "latest-start": ("-1", "x"),
    "near-rewards": ("-0.1", "1.1", "nan"),
    "match-tolerance": ("-1", "nan"),
    "clips": ("-1",),
    "tolerance": ("-1",),
    "real-episodes": ("0",),
    "workers": ("0", "-1", "x"),
    "seed": ("-1",),
}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
    """The command ends with code 2 and a message."""
    try:
        code = main(list(arguments))
    except SystemExit as end:  # options that are not even of the right kind
        code = end.code  # type: ignore[assignment]
    captured = capsys.readouterr()
    assert code == 2, arguments
    assert "error" in (captured.err + captured.out).lower(), arguments


def test_training_agents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train-agent", "--env", "CartPole-v1", "--out", str(tmp_path / "run")]
    for option in (*TRAIN_AGENT, "save-every", "keep-every", "threads"):
        for value in NUMBERS:
            refused(capsys, *command, f"--{option}={value}")
    for entry, values in RECIPE.items():
        for value in values:
            refused(capsys, *command, "--hyperparameters", f"{entry}={value}")
    refused(capsys, *command, "--num-envs", "1", "--hyperparameters", "n_steps=1")
    refused(capsys, *command, "--algo", "dqn")
    refused(capsys, *command, "--device", "abacus")
    assert not (tmp_path / "run").exists()


def test_training_world_models(
    tmp_path: Path, counting_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(counting_store)
    command = ["train", "--data", store, "--held-out", store, "--out", str(tmp_path / "run")]
    for option, values in TRAIN.items():
        for value in values:
            refused(capsys, *command, f"--{option}={value}")
    refused(capsys, *command, "--device", "abacus")
    assert not (tmp_path / "run").exists()


def test_measuring_the_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["gap", "--real", "CartPole-v1", "--out", str(tmp_path / "gap"), "--agents", "random"]
    for option, values in GAP.items():
        for value in values:
            refused(capsys, *command, f"--{option}={value}")


def test_calibrating_trust(
    debug_checkpoint: Path, counting_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["trust", "--checkpoint", str(debug_checkpoint), "--rollouts", str(counting_store)]
    for option in ("clips", "context", "horizon"):
        for value in ("0", *NUMBERS):
            refused(capsys, *command, f"--{option}={value}")
    refused(capsys, *command, "--seed=-1")
    refused(capsys, *command, "--device=abacus")


def test_collecting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["collect", "--env", "CartPole-v1", "--frames", "5", "--out", str(tmp_path / "store")]
    for option in ("frames", "workers", "max-episode-steps"):
        for value in ("0", *NUMBERS):
            refused(capsys, *command, f"--{option}={value}")
    refused(capsys, *command, "--seed=-1")
    for policy in ("sticky=-1", "sticky=nan", "sticky=inf", "sticky:2", "sticky:nan", "nobody"):
        refused(capsys, *command, "--policy", policy)
    assert not (tmp_path / "store").exists()


def test_comparing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "--suite", "debug", "--out", str(tmp_path / "work")]
    for option, values in {
        "workers": ("0", "-1", "x"),
        "jobs-limit": ("-1", "x"),
        "minutes": ("-1", "nan", "x"),
        "seeds": ("-1", "x"),
        "only": ("nothing",),
        "suite": ("nobody",),
    }.items():
        for value in values:
            refused(capsys, *command, f"--{option}={value}")
