"""The suites there are. Every number of a grid is here and nowhere else."""

from __future__ import annotations

import dataclasses

from dreamenv.comparison.suite import Cell, Rollouts, Suite, Task
from dreamenv.errors import ConfigError

INFOS = ("agent_pos", "agent_dir", "targets_pos", "target_index", "maze_layout")
MAZE = "MemoryMaze-7x7-ExtraObs-v0"

UPDATES = 3000
"""Of every cell, unless it says otherwise."""
CONTEXT = 64
"""Frames watched at the training length; a training window is as long again."""
ALL = ("retrieval", "retrieval_2x", "retrieval_4x", "reasoning", "cue_recall")


def _rival(rival: str, label: str, *groups: str) -> Cell:
    return Cell(rival, label, ("rivals", *groups), rival, tasks=ALL)


def _ablation(name: str, label: str, dynamics: dict, /, **training: object) -> Cell:
    changes = {"dynamics": dynamics} if dynamics else {}
    return Cell(name, label, ("ablations",), architecture=changes, training=dict(training))


def _scheme(name: str, label: str, /, **training: object) -> Cell:
    return Cell(name, label, ("schemes",), training=dict(training))


def _beyond(name: str, label: str, dynamics: dict, /, **training: object) -> Cell:
    return dataclasses.replace(
        _ablation(name, label, dynamics, **training), groups=("beyond",), tasks=ALL
    )


def _by_action(cell: Cell) -> Cell:
    training = {"conditioning": "action", "stride": 1, "retrace": 0.0}
    return Cell(
        f"{cell.name}_actions",
        cell.label,
        ("actions",),
        cell.rival,
        training=training,
        tasks=("revisit",),
    )


RIVALS = (
    _rival("ours", "ours: block-wise scan + local attention", "ablations", "schemes", "beyond"),
    _rival("causal_full", "causal transformer, full context", "beyond"),
    _rival("causal_window", "causal transformer, window", "beyond"),
    _rival("mamba2_attention", "Mamba-2 + local attention: no block-wise scan",
           "ablations", "beyond"),
    _rival("mamba2", "Mamba-2", "beyond"),
    _rival("dfot", "DFoT: bidirectional, window"),
)  # fmt: skip
ABLATIONS = (
    _ablation("block_1", "block size 1 everywhere", {"scan_blocks": [[1, 1]] * 4}),
    _ablation("no_attention", "no attention", {"attention": "none"}),
    _ablation("attention_1", "attention to 1 frame before, not 4", {"attention_window": 1}),
    _ablation("attention_8", "attention to 8 frames before, not 4", {"attention_window": 8}),
    _ablation("patch_2", "4 tokens a frame, not 16",
              {"patch": 2, "scan_blocks": [[2, 2], [2, 2], [1, 1], [2, 2]]}),
    _ablation("no_context_noise", "no noise on written frames", {},
              objective={"context_noise": 0.0}),
    _ablation("no_long_context", "no long-context training: windows of 32 frames", {},
              window=32, dynamics={"batch": 24}),
)  # fmt: skip
SCHEMES = (
    _scheme("forcing", "diffusion forcing + clean prefix, equal updates",
            objective={"scheme": "diffusion_forcing"}),
    _scheme("forcing_equal", "diffusion forcing + clean prefix, equal compute",
            objective={"scheme": "diffusion_forcing"}, dynamics={"steps": 2 * UPDATES}),
    _scheme("forcing_no_prefix", "diffusion forcing, no clean prefix",
            objective={"scheme": "diffusion_forcing", "clean_prefix": 0.0}),
)  # fmt: skip
BEYOND = (
    _beyond("handed_on", "ours, windows twice as long, state handed on", {},
            window=4 * CONTEXT, segments=2, state_reset=0.1, dynamics={"batch": 3}),
    _beyond("slow_decay", "ours, slower decay", {"ssm_step_range": [1e-4, 1e-1]}),
    _beyond("growing", "ours, windows that grow from 32 frames", {}, window_from=32),
)  # fmt: skip
ACTIONS = tuple(_by_action(cell) for cell in RIVALS[:4])

MEMORY_MAZE = Suite(
    name="memory-maze",
    data=Rollouts("memory_train", MAZE, 400, 1000, {"wandering": 0.85, "goal": 0.15}, 0, INFOS),
    held_out=Rollouts("memory_test", MAZE, 40, 3200, {"wandering": 1.0}, 1000, INFOS),
    preset="small",
    window=16,
    architecture={"sampler": {"steps": 1}},
    training={
        "conditioning": "pose",
        "stride": 3,
        "window": 2 * CONTEXT,
        "retrace": 0.5,
        "dtype": "bfloat16",
        "threads": 1,
        "tokenizer": {"steps": 6000},
        "dynamics": {"steps": UPDATES, "batch": 6},
    },
    tasks={
        "retrieval": Task("retrieval", {"context": CONTEXT, "window": 16}),
        "retrieval_2x": Task("retrieval", {"context": 2 * CONTEXT, "window": 16}),
        "retrieval_4x": Task("retrieval", {"context": 4 * CONTEXT, "window": 16}),
        "reasoning": Task("reasoning", {"context": CONTEXT, "horizon": CONTEXT}),
        "cue_recall": Task("cue_recall"),
        "revisit": Task("revisit"),
    },
    default_tasks=("retrieval", "reasoning"),
    cells=(*RIVALS, *ABLATIONS, *SCHEMES, *BEYOND, *ACTIONS),
    results="docs/results/memory",
    cost="docs/results/memory_cost.json",
    page="docs/memory.md",
)

DEBUG = dataclasses.replace(
    MEMORY_MAZE,
    name="debug",
    data=Rollouts("train", MAZE, 4, 150, {"wandering": 1.0}, 0, INFOS),
    held_out=Rollouts("test", MAZE, 4, 200, {"wandering": 1.0}, 1000, INFOS),
    preset="debug",
    window=4,
    training={
        "conditioning": "pose",
        "stride": 2,
        "window": 32,
        "retrace": 0.5,
        "dtype": "float32",
        "threads": 1,
        "log_every": 1,
        "tokenizer": {"steps": 20, "batch": 16},
        "dynamics": {"steps": 2, "batch": 2},
    },
    tasks={
        "retrieval": Task("retrieval", {"context": 16, "clips": 4}),
        "retrieval_2x": Task("retrieval", {"context": 32, "clips": 4}),
        "reasoning": Task("reasoning", {"context": 16, "horizon": 8, "clips": 4}),
        "cue_recall": Task("cue_recall", {"distances": [10, 30], "queries": 2}),
        "revisit": Task("revisit", {"context": 128, "horizon": 8, "min_age": 9, "clips": 4}),
    },
    cells=(
        dataclasses.replace(
            RIVALS[0], tasks=("retrieval", "retrieval_2x", "reasoning", "cue_recall")
        ),
        dataclasses.replace(RIVALS[2], tasks=("retrieval",)),
        dataclasses.replace(ABLATIONS[0], architecture={"dynamics": {"scan_blocks": [[1, 1]] * 2}}),
        SCHEMES[0],
        dataclasses.replace(
            BEYOND[0], training={"segments": 2, "state_reset": 0.5}, tasks=("retrieval_2x",)
        ),
        ACTIONS[0],
    ),
    results="",
    cost="",
    page="",
)
"""Everything that `memory-maze` has, of the smallest size: shows that the path works, no more."""

SUITES = {suite.name: suite for suite in (MEMORY_MAZE, DEBUG)}


def suite_named(name: str) -> Suite:
    """The suite of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SUITES:
        raise ConfigError(f"there is no suite {name!r}; there are {', '.join(SUITES)}")
    return SUITES[name]
