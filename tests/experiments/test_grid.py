"""A grid is checked cell by cell before anything is made, and its jobs know what they depend on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dreamenv.core.errors import ConfigError
from experiments import grid as grids
from experiments.baselines import dynamics_parameters
from experiments.grid import Grid
from experiments.suite import Cell, Rollouts, Suite, Task
from experiments.suites import SUITES, suite_named
from tests.experiments.conftest import INFOS, make_suite


def grid_with(path: Path, cell: dict[str, Any] | None = None, **suite: Any) -> Grid:
    """A grid whose second cell, called `odd`, has the given fields."""
    odd = Cell(**{"name": "odd", "label": "odd", "groups": ("baselines",)} | (cell or {}))
    return Grid(make_suite(**{"cells": (make_suite().cells[0], odd)} | suite), path)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ({"baseline": "perceiver"}, "unknown baseline 'perceiver'; there are ours, "),
        ({"architecture": {"dynamics": {"scan_blocks": [[3, 3]]}}}, r"\(3, 3\) does not tile the"),
        ({"architecture": {"dynamics": {"patch": 3}}}, "patch 3 does not tile the 4×4 latents"),
        ({"architecture": {"dynamics": {"colour": 1}}}, "DynamicsConfig has no field 'colour'"),
        ({"architecture": {"dynamics": {"attention_window": 16}}}, "needs training windows of"),
        ({"training": {"segments": 8}}, "over 3 frames before needs training windows"),
        ({"training": {"conditioning": "action"}}, "stride and retrace.*need conditioning pose"),
        ({"training": {"conditioning": "smell", "stride": 1}}, "conditioning is one of.*'smell'"),
        ({"training": {"widnow": 32}}, "TrainConfig has no field 'widnow'"),
        ({"training": {"dynamics": {"steps": 0}}}, "a stage needs steps"),
        ({"training": {"objective": {"scheme": "magic"}}}, "unknown scheme 'magic'"),
        ({"training": {"pose": "agent_pos,smell"}}, "training needs the infos smell, but the roll"),
        ({"training": {"window": 52}}, "52 frames at a stride of 2 span 103 recorded ones.*101"),
        ({"training": {"stride": 3}}, "measuring in training: 48 frames at a stride of 3"),
        ({"groups": ("friends",)}, "there is no group 'friends'; there are baselines"),
        ({"tasks": ("guessing",)}, "there is no task 'guessing'; there are retrieval"),
        ({"tasks": ("revisit",)}, "'revisit' asks by action, but the cell is conditioned by pose"),
        ({"name": "ours"}, "the name is taken"),
        ({"name": "tokenizer"}, "the name is taken"),
    ],
)
def test_an_impossible_cell_is_refused_with_its_name(
    tmp_path: Path, cell: dict[str, Any], reason: str
) -> None:
    name = cell.get("name", "odd")
    with pytest.raises(ConfigError, match=f"^cell '{name}': .*{reason}") as caught:
        grid_with(tmp_path, cell).check()
    assert str(caught.value).count("cell '") == 1
    assert not list(tmp_path.iterdir())


def test_a_dfot_that_hands_memory_on_is_refused(tmp_path: Path) -> None:
    cell = {"baseline": "dfot", "training": {"window": 32, "segments": 2}}
    with pytest.raises(ConfigError, match="cell 'odd'.*hands no memory on"):
        grid_with(tmp_path, cell).check()


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Task("retrieval", {"contxt": 8}), "retrieval has no setting 'contxt'; it has clips, "),
        (Task("retrieval", {"stride": 8}), "retrieval has no setting 'stride'"),
        (Task("hearing"), "there is no task 'hearing'; there are retrieval"),
        (Task("retrieval", {"context": 60}), "the task 'retrieval': 60 frames at a stride of 2"),
        (Task("reasoning", {"context": 30, "horizon": 30}), "'retrieval': 60 frames"),
        (
            Task("cue_recall", {}, Rollouts("cues", "Maze-v0", 2, 100, {}, 2, INFOS[:3])),
            "'retrieval' needs the infos maze_layout, but the rollouts 'cues' record agent_pos,",
        ),
    ],
)
def test_an_impossible_task_is_refused_with_the_cell(
    tmp_path: Path, task: Task, reason: str
) -> None:
    tasks = {**make_suite().tasks, "retrieval": task}
    with pytest.raises(ConfigError, match=f"^cell 'ours': .*{reason}"):
        grid_with(tmp_path, tasks=tasks).check()


def test_pose_conditioning_without_recorded_poses_is_refused(tmp_path: Path) -> None:
    blind = dataclasses.replace(make_suite().data, record_info=())
    with pytest.raises(ConfigError, match="needs the infos agent_pos, agent_dir.*record none"):
        grid_with(tmp_path, data=blind).check()


def test_unknown_names_are_answered_with_those_there_are(tmp_path: Path, suite: Suite) -> None:
    with pytest.raises(ConfigError, match="no cell 'theirs'; it has ours, window"):
        Grid(suite, tmp_path).jobs(only=["theirs"])
    with pytest.raises(ConfigError, match="no cell 'theirs'"):
        Grid(dataclasses.replace(suite, reference="theirs"), tmp_path).check()
    with pytest.raises(ConfigError, match="no suite 'mmnist'; there are memory-maze, debug"):
        suite_named("mmnist")


def test_jobs_come_seed_by_seed_each_in_its_folder(tmp_path: Path, suite: Suite) -> None:
    jobs = Grid(suite, tmp_path).jobs(seeds=[0, 3])
    assert [(job.cell, job.seed) for job in jobs] == [
        ("ours", 0), ("window", 0), ("ours", 3), ("window", 3),
    ]  # fmt: skip
    assert jobs[3].folder == tmp_path / "jobs" / "window" / "seed3"
    assert len({job.fingerprint for job in jobs}) == 4
    assert [job.cell for job in Grid(suite, tmp_path).jobs(only=["window"])] == ["window"]


def test_a_run_is_told_what_suite_and_cell_say(tmp_path: Path) -> None:
    cell = {"training": {"window": 8, "dynamics": {"steps": 7}, "objective": {"pure_noise": 0.5}}}
    training = {**make_suite().training, "dynamics": {"steps": 9, "batch": 3}}
    grid = grid_with(tmp_path, cell, training=training)
    first, odd = (grid.train_config(c, 5) for c in grid.suite.cells)
    assert (first.window, first.dynamics.steps, first.dynamics.batch) == (16, 9, 3)
    assert (odd.window, odd.dynamics.steps, odd.dynamics.batch) == (8, 7, 3)
    assert odd.objective.pure_noise == 0.5 and odd.seed == 5 and odd.stride == 2
    assert odd.tokenizer_from == str(tmp_path / "tokenizer" / "run") == grid.tokenizer_config().out
    assert odd.latents == first.latents and odd.out != first.out
    assert odd.data == str(tmp_path / "rollouts" / "train")
    elsewhere = Grid(grid.suite, tmp_path, tmp_path / "stores")
    assert elsewhere.train_config(grid.suite.cells[0], 0).data == str(tmp_path / "stores" / "train")


def fingerprint(path: Path, cell: dict[str, Any] | None = None, **suite: Any) -> str:
    return grid_with(path, cell, **suite).jobs()[1].fingerprint


def test_the_fingerprint_follows_what_decides_the_scores(tmp_path: Path) -> None:
    suite = make_suite()
    before = fingerprint(tmp_path)
    changed = [
        fingerprint(tmp_path, {"training": {"window": 12}}),
        fingerprint(tmp_path, {"baseline": "mamba2"}),
        fingerprint(tmp_path, {"architecture": {"dynamics": {"attention": "none"}}}),
        fingerprint(tmp_path, {"tasks": ("retrieval",)}),
        fingerprint(tmp_path, dtype="bfloat16"),
        fingerprint(tmp_path, window=5, cell={"baseline": "causal_window"}),
        fingerprint(tmp_path, data=dataclasses.replace(suite.data, episodes=3)),
        fingerprint(tmp_path, held_out=dataclasses.replace(suite.held_out, seed=2)),
        fingerprint(tmp_path, training={**suite.training, "tokenizer": {"steps": 5}}),
        fingerprint(tmp_path, tasks={**suite.tasks, "retrieval": Task("retrieval", {"seed": 1})}),
        fingerprint(tmp_path, tokenizer_from="bundled:memory_maze_9x9"),
    ]
    assert len({before, *changed}) == 1 + len(changed)


def test_the_fingerprint_ignores_where_how_and_under_what_name(
    tmp_path: Path,
) -> None:
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path / "elsewhere") == before
    assert fingerprint(tmp_path, {"label": "other", "groups": ("beyond",)}) == before
    training = make_suite().training | {"threads": 2, "log_every": 7, "checkpoint_every": 9}
    assert fingerprint(tmp_path, training=training) == before
    # A task that the cell does not do, and a default that is written out.
    tasks = make_suite().tasks | {"revisit": Task("revisit"), "more": Task("retrieval")}
    tasks["reasoning"] = Task("reasoning", {"clips": 4, "horizon": 8, "context": 8, "seed": 0})
    assert fingerprint(tmp_path, tasks=tasks) == before


def test_other_code_that_builds_other_weights_changes_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(tmp_path)
    original = grids.WorldModel.state_dict

    def with_one_more(self: Any) -> dict[str, Any]:
        return {**original(self), "new": next(self.parameters())}

    grids._weights.cache_clear()
    monkeypatch.setattr(grids.WorldModel, "state_dict", with_one_more)
    assert fingerprint(tmp_path) != before
    grids._weights.cache_clear()


@pytest.mark.parametrize("name", SUITES)
def test_the_suites_there_are_can_be_done(tmp_path: Path, name: str) -> None:
    grid = Grid(SUITES[name], tmp_path)
    grid.check()
    sizes = {c.name: dynamics_parameters(grid.architecture(c)) for c in grid.suite.cells}
    baselines = [sizes[c.name] for c in grid.suite.cells if "baselines" in c.groups]
    assert max(baselines) <= 1.05 * min(baselines)
    assert {group for cell in grid.suite.cells for group in cell.groups} == set(grids.GROUPS)
