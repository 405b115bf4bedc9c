"""The page's tables of training, of the adapter, of sizes, and of the machine."""

from __future__ import annotations

import statistics

from benchmarks.page.markdown import made, milliseconds, number, percent, psnr
from benchmarks.page.results import Result, Results
from dreamenv.core.machine import DTYPES
from experiments.markdown import table


def machine(results: Results) -> str | None:
    """What ran where, and how busy it was."""
    lines = []
    for found in (results["dream_speed"], *results.training, results["adapter_speed"],
                  results["endurance"]):  # fmt: skip
        if "load_average" in found:
            lines.append([
                f"`{found['command']}`",
                f"{found['processor']}, {found['cores']} cores",
                str(found["threads"]),
                f"{found['torch']}, Python {found['python']}",
                f"{found['load_average']:.1f}",
            ])  # fmt: skip
    header = ["command", "machine", "threads", "torch", "load before"]
    note = "Load: the average of the minute before; a quiet machine has about 0."
    return table(header, lines, [note]) if lines else None


def training(results: Results) -> str | None:
    """Training frames/s by window length, every way that was measured."""
    lines, notes = [], []
    for found in results.training:
        for row in found["by_window"]:
            lines.append([
                way(found),
                str(row["window"]),
                str(row["rows"]),
                number(row["frames_per_second"]),
                number(row["warm_up_seconds"]),
                f"{row['flops_per_frame'] / 1e6:,.0f}",
                percent(row["share_of_matmul_rate"]),
                *(percent(row["share_of_time"][part])
                  for part in ("gradients", "optimiser", "averaging")),
                number(row["matmul_gflops"][found["dtype"]]),
            ])  # fmt: skip
        notes.append(
            f"{way(found).capitalize()}: preset `{found['preset']}`, "
            f"{found['parameters'] / 1e6:.1f} M parameters trained, {found['objective']['scheme']}."
        )
        notes.append(made(found, found["by_window"]))
    if not lines:
        return None
    header = ["", "window", "rows", "frames/s", "first update, s", "MFLOP a frame",
              "of matmul rate", "gradients", "optimiser", "averaging",
              "matmul GFLOP/s"]  # fmt: skip
    return table(header, lines, notes)


def way(found: Result) -> str:
    """How a training run was made."""
    parts = [found["dtype"], "compiled" if found["compiled"] else "eager"]
    parts += ["activations checkpointed"] if found["checkpoint_activations"] else []
    return ", ".join([*parts, f"{found['threads']} thread{'s' * (found['threads'] > 1)}"])


def operations(results: Results) -> str | None:
    """The slowest operations of training."""
    tables = []
    for found in results.training:
        profiled = found["profile"]
        lines = [
            [f"`{row['name']}`", f"{row['calls']:,}", milliseconds(row["seconds"]),
             percent(row["seconds"] / profiled["seconds"])]
            for row in profiled["operations"]
        ]  # fmt: skip
        note = (
            f"{way(found).capitalize()}: gradients of {profiled['rows']} windows of "
            f"{profiled['window']} frames, {milliseconds(profiled['seconds'])} ms in all, under a "
            f"profiler; `{found['command']}`."
        )
        tables.append(table(["operation", "calls", "ms", "of the time"], lines, [note]))
    return "\n".join(tables) or None


def adapter(results: Results) -> str | None:
    """What Stable-Baselines3 costs."""
    found = results["adapter_speed"]
    if not found or "denoising_steps" not in found:
        return None
    lines = []
    for observation in ("frame", "memory"):
        measured = found[observation]
        rates = measured["frames_per_second"]
        lines.append([
            f"`{observation}`",
            *(number(statistics.median(rates[name]))
              for name in ("dream", "vec_env", "dream_and_policy", "collect_rollouts")),
            percent(measured["overhead"]["adapter"]),
            percent(measured["overhead"]["collect_rollouts"]),
        ])  # fmt: skip
    k = found["denoising_steps"]
    quality = results.quality(k, found["weights_sha256"])
    notes = [
        f"{found['slots']} slots, episodes of {found['horizon']} steps, {found['dtype']}, K={k}, "
        f"PSNR {psnr(quality)} dB.",
        made(found, [found["frame"], found["memory"]]),
    ]
    header = ["observation", "dream", "`DreamVecEnv`", "dream and policy", "PPO's own loop",
              "adapter costs", "the loop costs"]  # fmt: skip
    return table(header, lines, notes)


def state(results: Results) -> str | None:
    """Bytes of one dream by preset."""
    found = results["state_bytes"]
    if not found:
        return None
    lines = []
    for name, entry in found["presets"].items():
        kinds = entry["bfloat16"]["by_kind"]
        lines.append([
            f"`{name}`",
            f"{entry['parameters'] / 1e6:,.1f} M",
            *(f"{entry[dtype]['bytes']:,}" for dtype in DTYPES),
            f"{kinds.get('ssm', 0):,}",
            f"{kinds.get('keys', 0) + kinds.get('values', 0):,}",
            f"{kinds.get('conv', 0):,}",
        ])  # fmt: skip
    header = ["preset", "parameters", "float32", "bfloat16", "of these: SSM state",
              "keys and values", "convolutions"]  # fmt: skip
    note = f"Bytes of one slot, at any age. `{found['command']}`."
    return table(header, lines, [note])
