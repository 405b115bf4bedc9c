"""The suites there are. Every number of a grid is here and nowhere else."""

from __future__ import annotations

import dataclasses

from dreamenv.core.errors import ConfigError
from experiments.suite import Cell, Rollouts, Suite, Task

INFOS = ("agent_pos", "agent_dir", "targets_pos", "target_index", "maze_layout")
MAZE = "MemoryMaze-7x7-ExtraObs-v0"

UPDATES = 1000
"""Of every cell, unless it says otherwise."""
CONTEXT = 64
"""Frames watched at the training length; a training window is as long again."""
BLOCKS = [[2, 2], [1, 1], [2, 2], [1, 1]]
MOST = ("retrieval", "reasoning", "cue_recall")
ALL = (*MOST, "retrieval_2x", "retrieval_4x")
"""Asked of those that are shown beyond the training length."""


def _baseline(baseline: str, label: str, *groups: str) -> Cell:
    tasks = ALL if "beyond" in groups else MOST
    return Cell(baseline, label, ("baselines", *groups), baseline, tasks=tasks)


def _ablation(name: str, label: str, dynamics: dict, /, **training: object) -> Cell:
    changes = {"dynamics": dynamics} if dynamics else {}
    return Cell(name, label, ("ablations",), architecture=changes, training=dict(training))


def _scheme(name: str, label: str, /, **training: object) -> Cell:
    return Cell(name, label, ("schemes",), training=dict(training))


def _beyond(name: str, label: str, dynamics: dict, /, **training: object) -> Cell:
    return dataclasses.replace(
        _ablation(name, label, dynamics, **training),
        groups=("beyond",),
        tasks=("retrieval", "reasoning", "retrieval_2x", "retrieval_4x"),
    )


def _by_action(
    name: str, label: str, baseline: str, scheme: str, updates: int = UPDATES,
    dynamics: dict | None = None,
) -> Cell:  # fmt: skip
    training = {
        "conditioning": "action",
        "stride": 1,
        "retrace": 0.0,
        "objective": {"scheme": scheme, "clean_prefix": 0.5, "pure_noise": 0.6},
        "dynamics": {"steps": updates},
    }
    changes = {"dynamics": dynamics} if dynamics else {}
    return Cell(
        name, label, ("actions",), baseline, architecture=changes, training=training,
        tasks=("revisit",),
    )  # fmt: skip


BASELINES = (
    _baseline("ours", "ours: block-wise scan + local attention", "ablations", "schemes", "beyond"),
    _baseline("causal_full", "causal transformer, full context", "beyond"),
    _baseline("mamba2_attention", "one scan + local attention: no block-wise scan",
           "ablations", "beyond"),
    _baseline("mamba2", "one scan, no attention"),
    _baseline("causal_window", "causal transformer, window of 16"),
    # Watching 3,200 frames is 16 times the work for it, so it is not asked for colours.
    dataclasses.replace(
        _baseline("dfot", "DFoT: bidirectional, window of 16"),
        tasks=("retrieval", "reasoning"),
        training={"window_from": 0, "window_growth": 0.5},  # its windows have a length of their own
    ),
)  # fmt: skip
SCHEMES = (
    _scheme("clean_state", "clean state, equal compute",
            objective={"scheme": "clean_state", "clean_prefix": 0.5},
            dynamics={"steps": UPDATES // 2}),
)  # fmt: skip
BEYOND = (
    _beyond("slow_decay", "ours, slower decay", {"ssm_step_range": [1e-6, 1e-3]}),
    _beyond("half_lives", "ours, half-lives of 1 to 2,000 frames", {"ssm_half_life": [1, 2000]}),
    _beyond("place_forgetting", "ours, places forget only where they are written to",
            {"ssm_place_forgetting": True}),
    _beyond("handed_on", "ours, windows twice as long, state handed on", {},
            window=4 * CONTEXT, segments=2, state_reset=0.1, dynamics={"batch": 2}),
    _beyond("ours_2x", "ours, twice the updates", {}, dynamics={"steps": 2 * UPDATES}),
)  # fmt: skip
ABLATIONS = (
    _ablation("block_1", "block size 1 everywhere", {"scan_blocks": [[1, 1]] * 4}),
    _ablation("no_attention", "no attention", {"attention": "none"}),
    _ablation("no_long_context", "no long-context training: no clean prefix", {},
              objective={"clean_prefix": 0.0}),
    _ablation("plain_mamba2", "plain Mamba-2 addressing",
              {"ssm_recall": False, "ssm_step_range": [1e-3, 1e-1]}),
    _ablation("no_growing", "windows of full length from the start", {}, window_from=0,
              window_growth=0.5),
    _ablation("state_32", "32 places in a state, not 128", {"ssm_state_dim": 32}),
    _ablation("attention_1", "attention to 1 frame before, not 4", {"attention_window": 1}),
    _ablation("patch_4", "1 token a frame, not 4", {"patch": 4, "scan_blocks": [[1, 1]] * 4}),
    dataclasses.replace(
        _ablation("context_noise", "imagined frames enter the memory with 10% noise", {}),
        architecture={"sampler": {"context_noise": 0.1}},
    ),
)  # fmt: skip
ACTIONS = (
    _by_action("ours_actions", "ours", "ours", "diffusion_forcing"),
    _by_action("clean_state_actions", "ours, clean state, equal compute", "ours", "clean_state",
               UPDATES // 2),
    _by_action("landmarks_actions", "ours with 384 landmarks", "ours", "clean_state",
               UPDATES // 2, {"landmarks": {"count": 384, "spacing": 0.5}}),
    _by_action("window_actions", "causal transformer, window of 16", "causal_window",
               "diffusion_forcing"),
)  # fmt: skip

MEMORY_MAZE = Suite(
    name="memory-maze",
    data=Rollouts("memory_train", MAZE, 400, 1000, {"wandering": 0.85, "goal": 0.15}, 0, INFOS),
    held_out=Rollouts("memory_test", MAZE, 40, 3200, {"wandering": 1.0}, 1000, INFOS),
    preset="small",
    window=15,
    architecture={
        "sampler": {"steps": 1},
        "dynamics": {
            "width": 128,
            "patch": 2,
            "scan_blocks": BLOCKS,
            "mlp_ratio": 3.75,
            "ssm_recall": True,
            "ssm_head_dim": 64,
            "ssm_state_dim": 128,
            "ssm_step_range": [1e-4, 1e-2],
        },
    },
    tokenizer_from="bundled:memory_maze_9x9",
    training={
        "conditioning": "pose",
        "stride": 3,
        "window": 2 * CONTEXT,
        "window_from": 16,
        "window_growth": 0.7,
        "retrace": 0.75,
        "dtype": "bfloat16",
        "threads": 1,
        "checkpoint_every": 250,
        "dynamics": {
            "steps": UPDATES,
            "batch": 4,
            "learning_rate": 3e-3,
            "warmup": 50,
            "ema": 0.99,
        },
        "objective": {"scheme": "diffusion_forcing", "clean_prefix": 0.9, "pure_noise": 0.6},
    },
    tasks={
        "retrieval": Task("retrieval", {"context": CONTEXT, "window": 16, "clips": 40}),
        "retrieval_2x": Task("retrieval", {"context": 2 * CONTEXT, "window": 16, "clips": 20}),
        "retrieval_4x": Task("retrieval", {"context": 4 * CONTEXT, "window": 16, "clips": 10}),
        "reasoning": Task("reasoning", {"context": CONTEXT, "horizon": 32, "clips": 40}),
        # A wanderer in a maze of 7x7 sees every target again within a few hundred steps.
        "cue_recall": Task(
            "cue_recall",
            rollouts=Rollouts("memory_cue", MAZE, 20, 3200, {"secluded": 1.0}, 2000, INFOS),
        ),
        "revisit": Task("revisit"),
    },
    default_tasks=("retrieval", "reasoning"),
    cells=(
        *BASELINES,
        *SCHEMES,
        *ACTIONS[:2],
        *ABLATIONS[:4],
        *BEYOND[:2],
        *ABLATIONS[4:],
        *ACTIONS[2:],
        *BEYOND[2:],
    ),  # fmt: skip
    results="docs/results/memory",
    cost="docs/results/memory_cost.json",
    page="docs/memory.md",
)

DEBUG = Suite(
    name="debug",
    data=Rollouts("train", MAZE, 4, 150, {"wandering": 1.0}, 0, INFOS),
    held_out=Rollouts("test", MAZE, 4, 200, {"wandering": 1.0}, 1000, INFOS),
    preset="debug",
    window=4,
    architecture={"sampler": {"steps": 1}},
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
    default_tasks=("retrieval",),
    cells=(
        Cell("ours", "ours", ("baselines", "ablations", "schemes", "beyond"),
             tasks=("retrieval", "retrieval_2x", "reasoning", "cue_recall")),
        Cell("causal_window", "causal transformer, window", ("baselines",), "causal_window"),
        _ablation("block_1", "block size 1", {"scan_blocks": [[1, 1]] * 2}),
        _scheme("forcing", "diffusion forcing", objective={"scheme": "diffusion_forcing"}),
        Cell("handed_on", "state handed on", ("beyond",), tasks=("retrieval_2x",),
             training={"segments": 2, "state_reset": 0.5}),
        Cell("by_action", "ours", ("actions",), tasks=("revisit",),
             training={"conditioning": "action", "stride": 1, "retrace": 0.0}),
    ),
)  # fmt: skip
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
