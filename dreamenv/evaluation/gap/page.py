"""A gap report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from dreamenv.evaluation.gap import plots as gap_plots
from dreamenv.evaluation.gap.measure import GapReport

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222 }
h1, h2, h3 { line-height: 1.2 } h2 { border-top: 1px solid #ccc; padding-top: 1.2rem }
table { border-collapse: collapse; margin: .8rem 0; font-size: .9rem }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; display: block; margin: .8rem 0 }
.scroll { overflow-x: auto } .note { color: #555; font-size: .9rem }
"""


def gap_page(report: GapReport, command: str = "") -> str:
    """The page.

    Args:
        report: what was measured.
        command: that made it, shown at the end.
    """
    result = report.result
    body = [
        _head(result),
        _returns(result),
        _ranking(result),
        _transfer(result),
        *(_open_loop(name, loop, report) for name, loop in result["open_loop"].items()),
        _exploitation(result, report),
        f"<h2>How it was made</h2><p class=note>{escape(result['interval'])}. DreamEnv "
        f"{escape(result['dreamenv'])}; weights {escape(result['dream']['weights_sha256'][:12])}; "
        f"seed {result['seed']}. <code>{escape(command)}</code></p>",
    ]
    head = f'<meta charset="utf-8"><title>Gap report</title><style>{STYLE}</style>'
    text = "\n".join(filter(None, body))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{text}\n</body></html>\n'


def number(value: float | None, sign: str = "", digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:{sign}.{digits}f}"


def interval(value: dict[str, Any], sign: str = "", digits: int = 2) -> str:
    """A mean and its interval."""
    mean = number(value["mean"], sign, digits)
    if value["low"] is None or value["mean"] is None:
        return mean
    return f"{mean} [{value['low']:{sign}.{digits}f}, {value['high']:{sign}.{digits}f}]"


def _head(result: dict[str, Any]) -> str:
    dream, spawns = result["dream"], result["spawns"]
    near = spawns["ended_near_a_reward"]
    words = [
        f"<h1>{escape(dream['id'])} against {escape(result['real']['id'])}</h1>",
        f"<p>The world model was trained on {escape(dream['model_trained_on'])} and paid its "
        f"{escape(dream['reward'])} reward. Every agent played {result['steps_per_episode']} steps "
        f"from each of {spawns['reached']} spawns, of {spawns['episodes']} real episodes, in both "
        f"worlds; {spawns['exactly']} of {spawns['drawn']} spawns were reached with exactly the "
        "spawn's last frame"
        + (f", and {len(spawns['refused'])} were refused" if spawns["refused"] else "")
        + (f"; {near} were drawn because a reward is near" if near else "")
        + ".</p>",
    ]
    return "\n".join(words)


def _returns(result: dict[str, Any]) -> str:
    rows = [["agent", "in the dream", "in reality", "dream − real", "correlation over spawns"]]
    for agent in result["agents"]:
        earned = agent["return"]
        rows.append(
            [
                agent["agent"],
                interval(earned["dream"]),
                interval(earned["real"]),
                interval(earned["dream_minus_real"], "+"),
                number(earned["correlation_over_spawns"]),
            ]
        )
    parts = ["<h2>Returns</h2>", _table(rows), _svg(gap_plots.returns(result))]
    for agent in result["agents"]:
        if agent["cumulative_reward"] is not None:
            parts += [f"<h3>{escape(agent['agent'])}</h3>", _svg(gap_plots.cumulative(agent))]
    return "\n".join(parts)


def _ranking(result: dict[str, Any]) -> str:
    ranking = result["ranking"]
    if ranking is None:
        return ""
    few = (
        "<p class=note>Fewer than ten agents: take this for an illustration.</p>"
        if ranking["agents"] < 10
        else ""
    )
    halves = ranking["real_halves_agree"]
    rows = [
        ["", f"{ranking['agents']} agents", "two halves of the real episodes"],
        ["Pearson", interval(ranking["pearson"]), number(halves["pearson"])],
        ["Spearman", interval(ranking["spearman"]), number(halves["spearman"])],
        [
            "mean maximum rank violation",
            interval(ranking["mmrv"], digits=3),
            f"(returns span {ranking['real_range']:.3f})",
        ],
    ]
    without = [["without", "Pearson", "Spearman", "rank violation"]]
    for entry in ranking["without"]:
        without.append(
            [
                entry["agent"],
                number(entry["pearson"]),
                number(entry["spearman"]),
                number(entry["mmrv"], digits=3),
            ]
        )
    pair = ranking["worst_pair"]
    worst = ""
    if pair is not None:
        a, b = pair["better"], pair["worse"]
        worst = (
            f"<p>Most costly to believe: that {escape(b['agent'])} is as good as "
            f"{escape(a['agent'])} or better ({b['dream']:.2f} against {a['dream']:.2f} in the "
            f"dream, {b['real']:.2f} against {a['real']:.2f} in reality).</p>"
        )
    return "\n".join(
        [
            "<h2>Ranking</h2>",
            few,
            _table(rows),
            worst,
            _svg(gap_plots.ranking(result)),
            "<p>What is left without each agent; first the one that lowers Spearman's most:</p>",
            _table(without),
        ]
    )


def _transfer(result: dict[str, Any]) -> str:
    if result["transfer"] is None:
        return ""
    parts = ["<h2>Transfer</h2>"]
    for found in result["transfer"]:
        rows = [["trained", "agent", "steps", "hours", "return"]]
        for agent in found["agents"]:
            training = agent["training"] or {}
            steps, seconds = training.get("steps"), training.get("seconds")
            rows.append(
                [
                    agent["label"],
                    agent["agent"],
                    "–" if steps is None else f"{steps:,}",
                    number(None if seconds is None else seconds / 3600),
                    interval(agent["return"]),
                ]
            )
        apart = [["difference", ""]]
        apart += [[f"{d['of']} − {d['and']}", interval(d, "+")] for d in found["differences"]]
        parts += [
            f"<h3>{found['episodes']} full episodes of {found['steps_per_episode']} steps of "
            f"{escape(found['real'])}</h3>",
            _table(rows),
            _table(apart),
        ]
    return "\n".join(parts)


def _open_loop(name: str, loop: dict[str, Any], report: GapReport) -> str:
    behaviour = "recorded rollouts" if name == "rollouts" else f"{name} in reality"
    sums = [["k", "real", "expected − real", "|error|", "likeliest − real", "|error|", "of 0"]]
    for row in loop["reward_sums"]:
        sums.append(
            [
                str(row["k"]),
                number(row["real"]["mean"], digits=3),
                interval(row["expected"]["bias"], "+", 3),
                number(row["expected"]["absolute_error"]["mean"], digits=3),
                interval(row["likeliest"]["bias"], "+", 3),
                number(row["likeliest"]["absolute_error"]["mean"], digits=3),
                number(row["absolute_error_of_zero"]["mean"], digits=3),
            ]
        )
    events = [["reward events", "seen", "dreamt"]]
    for key in ("frames", "events", "predicted", "precision", "recall", "average_precision"):
        cells = [loop["reward_events"][side][key] for side in ("seen", "dreamt")]
        shown = [str(cell) if isinstance(cell, int) else number(cell) for cell in cells]
        events.append([key.replace("_", " "), *shown])
    for key in ("brier", "expected_calibration_error"):
        cells = [loop["calibration"][side][key] for side in ("seen", "dreamt")]
        shown = [interval(cell, digits=4) for cell in cells]
        events.append([key.replace("_", " ").replace("brier", "Brier score"), *shown])
    horizon, trust = loop["explained_horizon"], loop["trust"]
    told = f"; by its own trust {trust['horizon']}" if trust else ""
    lpips = f"<p class=note>{escape(loop['lpips_missing'])}</p>" if loop["lpips_missing"] else ""
    return "\n".join(
        [
            f"<h2>Foresight: {escape(behaviour)}</h2>",
            f"<p>{loop['clips']} clips of {loop['episodes']} episodes: {loop['context']} frames "
            f"watched, {loop['horizon']} imagined under the recorded actions. The dream keeps at "
            f"least half of what the mean frame misses for {horizon['steps']} steps{told}.</p>",
            _png(report.clips[name], "real frames above dreamt ones"),
            _svg(gap_plots.similarity(loop)),
            lpips,
            _svg(gap_plots.drift(loop)),
            "<h3>Rewards over k steps</h3>",
            _table(sums),
            "<h3>Reward events</h3>",
            _table(events),
            _svg(gap_plots.reliability(loop)),
        ]
    )


def _exploitation(result: dict[str, Any], report: GapReport) -> str:
    if not result["exploitation"]:
        return ""
    parts = [
        "<h2>Exploitation</h2>",
        "<p>The actions that the agent took in the dream, taken again in reality.</p>",
    ]
    for name, case in result["exploitation"].items():
        paid = case["reward_per_episode"]
        rows = [
            ["reward per episode", ""],
            *([key, interval(paid[key])] for key in ("dream", "real", "unconfirmed", "missed")),
            ["unconfirmed share of the dreamt reward", interval(case["share_unconfirmed"])],
            ["missed share of the real reward", interval(case["share_missed"])],
        ]
        by_step = [["steps", "dreamt", "unconfirmed", "real", "missed"]]
        for part in case["by_step"]:
            first, last = part["steps"]
            cells = [number(part[k]) for k in ("dream", "unconfirmed", "real", "missed")]
            by_step.append([f"{first}–{last}", *cells])
        parts += [f"<h3>{escape(name)}</h3>", _table(rows), _table(by_step)]
        strips = report.strips.get(name, [])
        if strips:
            parts.append("<p>Where the dream paid most and reality did not:</p>")
        parts += [_png(strip, "dreamt frames above real ones") for strip in strips]
    return "\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = []
    for i, row in enumerate(rows):
        tag = "td" if i else "th"
        lines.append("".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row))
    return "<div class=scroll><table><tr>" + "</tr>\n<tr>".join(lines) + "</tr></table></div>"


def _svg(text: str) -> str:
    """As an image, so that the names inside plots cannot clash."""
    return _image("svg+xml", text.encode(), "plot")


def _png(picture: np.ndarray, words: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png", optimize=True)
    return _image("png", buffer.getvalue(), words)


def _image(kind: str, data: bytes, words: str) -> str:
    return f'<img alt="{words}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
