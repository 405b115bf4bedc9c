"""The page's tables of the dream: quality, speed, limits, age."""

from __future__ import annotations

import statistics

from benchmarks.page.markdown import (
    count_slots,
    horizon,
    made,
    milliseconds,
    number,
    percent,
    psnr,
    qualities,
)
from benchmarks.page.results import Result, Results, quality_in
from experiments.markdown import MISSING, table

TOLERANCE = 0.02
"""How much dearer than a young one an old dream's step may be."""


def passes(results: Results) -> str | None:
    """Speed and quality of one checkpoint at every K."""
    rows = results.dream("by_slots")
    if not rows:
        return None
    dtype = results.dream("usual_dtype")
    counts = list(dict.fromkeys(row["slots"] for row in rows))
    lines = []
    for k in dict.fromkeys(row["denoising_steps"] for row in rows):
        found = [results.speed(dtype, count, k) for count in counts]
        latency = [
            row for row in results.dream("one_slot")
            if (row["dtype"], row["denoising_steps"]) == (dtype, k)
        ]  # fmt: skip
        lines.append([
            str(k),
            *qualities(results.quality(k)),
            *(MISSING if row is None else number(row["frames_per_second"]) for row in found),
            *(milliseconds(row[x]) for row in latency for x in ("seconds_median", "seconds_99th")),
        ])  # fmt: skip
    frames = horizon(results)
    header = ["K", "PSNR, frame 1", f"mean of {frames}", f"frame {frames}"]
    header += [f"frames/s, {count_slots(count)}" for count in counts]
    header += ["one slot, median ms", "p99 ms"]
    notes = [
        f"{dtype}; the checkpoint as released makes "
        f"{results.dream('checkpoint')['denoising_passes']} pass(es). PSNR in dB, open loop.",
        _of_loop(results),
        made(results["dream_speed"], rows),
    ]
    return table(header, lines, notes)


def shortcuts(results: Results) -> str | None:
    """Quality at every K before and after shortcut forcing."""
    with_them, without = results["open_loop_shortcut"], results["open_loop"]
    if not with_them or not without:
        return None
    names = [*dict.fromkeys([*without["psnr_db"], *with_them["psnr_db"]])]
    counts = sorted(int(name.removeprefix(_MODEL)) for name in names if name.startswith(_MODEL))
    lines = [
        [str(k), *qualities(quality_in(without, k)), *qualities(quality_in(with_them, k))]
        for k in reversed(counts)
    ]
    frames = horizon(results)
    columns = ["frame 1", f"mean of {frames}", f"frame {frames}"]
    header = ["K", *(f"{who}: {x}" for who in ("as released", "with shortcuts") for x in columns)]
    notes = [
        "PSNR in dB, open loop, the same clips and noise for both.",
        f"As released: `{without['command']}`. With shortcuts: `{with_them['command']}`.",
    ]
    return table(header, lines, notes)


_MODEL = "model, K="


def slots(results: Results) -> str | None:
    """Frames/s by slots, K and precision."""
    rows = results.dream("by_slots")
    if not rows:
        return None
    lines = [
        [
            row["dtype"],
            str(row["slots"]),
            str(row["denoising_steps"]),
            psnr(results.quality(row["denoising_steps"])),
            number(row["frames_per_second"]),
            milliseconds(row["slots"] / row["frames_per_second"]),
            percent(row["share_of_matmul_rate"]),
            percent(row["share_of_roofline"]),
            number(row["matmul_gflops"][row["dtype"]]),
        ]
        for row in rows
    ]
    header = ["precision", "slots", "K", "PSNR", "frames/s", "ms per step", "of matmul rate",
              "of roofline", "matmul GFLOP/s"]  # fmt: skip
    note = f"PSNR in dB, mean over the {horizon(results)} frames of an open loop."
    return table(header, lines, [note, made(results["dream_speed"], rows)], texts=1)


def real(results: Results) -> str | None:
    """Dreams beside the real environment in as many processes as there are cores."""
    found = results.dream("against_real")
    if not found:
        return None
    readings = {
        f"dream, {found['slots']} slots, K={found['denoising_steps']}, {found['dtype']}": (
            found["dream_frames_per_second"],
            psnr(results.quality(found["denoising_steps"])),
        ),
        f"`{found['env_id']}` in {found['real_processes']} processes": (
            found["real_frames_per_second"],
            MISSING,
        ),
    }
    lines = [
        [
            name,
            number(statistics.median(rates)),
            f"{number(min(rates))} … {number(max(rates))}",
            quality,
        ]
        for name, (rates, quality) in readings.items()
    ]
    notes = [
        f"In turns; dream over real: **{found['ratio']:.2f}**.",
        made(results["dream_speed"], [found]),
    ]
    return table(["", "frames/s, median", "least … most", "PSNR"], lines, notes)


def ages(results: Results) -> str | None:
    """Latency and bytes of old dreams beside young ones."""
    lines, notes = [], []
    for name, run, row in results.ages():
        low, high = row["low"], row["high"]
        interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        lines.append([
            f"{row['frames']:,}",
            str(run["slots"]),
            milliseconds(row["seconds_per_step"]),
            milliseconds(row["seconds_per_young_step"]),
            f"{row['ratio']:.3f}{interval}",
            _verdict(row),
            f"{row['state_bytes']:,}",
            f"{row['state_bytes'] / row['young_state_bytes']:.3f}",
            f"[{name}.json](results/{name}.json)",
        ])  # fmt: skip
        notes.append(
            f"Beside a dream of about {row['young_frames']} frames, stepped in turns: the median "
            "ratio of neighbouring steps, with the 95% bootstrap over blocks of them."
        )
    for name in ("dream_speed", "endurance"):
        rate = results[name].get("over_time", {}).get("matmul_gflops")
        if rate and results[name]["over_time"].get("ages"):
            notes.append(
                f"Float32 matmul of `{results[name]['command']}`: {number(rate['float32'])} "
                "GFLOP/s."
            )
    if not lines:
        return None
    notes.append(
        f"Within {TOLERANCE:.0%}: yes or no where the whole interval is on one side of "
        f"{1 + TOLERANCE}, open where it is not."
    )
    header = ["frames", "slots", "ms per step", "young, ms", "ratio", f"within {TOLERANCE:.0%}",
              "bytes", "over young", "from"]  # fmt: skip
    return table(header, lines, notes)


def _verdict(row: Result) -> str:
    low, high = row["low"], row["high"]
    if low is None or low <= 1 + TOLERANCE < high:
        return "open"
    return "yes" if high <= 1 + TOLERANCE else "no"


def endurance(results: Results) -> str | None:
    """A million frames."""
    found = results["endurance"]
    if not found:
        return None
    noted = found["checkpoints"]
    lines = [
        ["frames", f"{found['frames']:,}"],
        ["steps of the dreams that never end", f"{found['frames'] // found['slots']:,}"],
        ["episodes of the others", f"{found['episodes']:,}"],
        ["hours", f"{noted[-1]['minutes'] / 60:.1f}"],
        ["processes (1 + times it was killed)", str(found["processes"])],
        ["resident memory, last fifth over first", f"{found['resident_ratio']:.3f}"],
        ["memory of the dreams, last fifth over first", f"{found['state_ratio']:.3f}"],
        ["latency, last fifth over first", f"{found['latency_ratio']:.3f}"],
        ["the same in matrix products", f"{found['latency_ratio_by_yardstick']:.3f}"],
        ["least contrast of a frame (standard deviation)", f"{found['least_contrast']:.1f}"],
    ]
    gflops = found["over_time"]["matmul_gflops"]["float32"]
    note = f"`{found['command']}`, float32 matmul of 1024² at {gflops:.0f} GFLOP/s meanwhile."
    return table(["", ""], lines, [note])


def roofline(results: Results) -> str | None:
    """Least time of a step, and how far it is from there."""
    rows = results.dream("by_slots")
    if not rows:
        return None
    k = results.dream("checkpoint")["denoising_passes"]
    lines = []
    for row in rows:
        if row["denoising_steps"] == k:
            taken = row["slots"] / row["frames_per_second"]
            lines.append([
                row["dtype"],
                str(row["slots"]),
                milliseconds(row["arithmetic_seconds"]),
                milliseconds(row["traffic_seconds"]),
                milliseconds(taken),
                percent(row["share_of_roofline"]),
                number(row["flops_per_byte"]),
            ])  # fmt: skip
    work = [
        f"{w['dtype']}: {w['flops'] / 1e6:,.0f} MFLOP a frame, of which the decoder "
        f"{w['decoder_flops'] / 1e6:,.0f}, {w['weight_bytes'] / 1e6:,.1f} MB of weights, "
        f"{w['state_bytes'] / 1e6:,.2f} MB of memory a slot"
        for w in results.dream("work")
        if w["denoising_steps"] == k
    ]
    copied = rows[0]["copied_gigabytes_per_second"]
    notes = [
        f"K={k}, PSNR {psnr(results.quality(k))} dB. {'; '.join(work)}.",
        f"Copies of this run: {copied:.1f} GB/s.",
        made(results["dream_speed"], rows),
    ]
    header = ["precision", "slots", "arithmetic, ms", "traffic, ms", "measured, ms", "reached",
              "FLOP per byte"]  # fmt: skip
    return table(header, lines, notes)


def parts(results: Results) -> str | None:
    """Where a step's time goes."""
    rows = results.dream("parts")
    if not rows:
        return None
    names = part_names(rows)
    lines = [
        [name, *(MISSING if name not in row["milliseconds"] else _share_of(row, name)
                 for row in rows)]
        for name in names
    ]  # fmt: skip
    least = []
    for row in rows:
        speed = results.speed(row["dtype"], row["slots"], row["denoising_steps"])
        least.append(MISSING if speed is None else milliseconds(speed["arithmetic_seconds"]))
    lines += [
        ["*a step without the profiler*", *(f"{row['step_milliseconds']:.2f}" for row in rows)],
        ["*its products at the matmul's rate*", *least],
    ]
    header = ["ms per step (share)"]
    header += [
        f"{row['dtype']}, {count_slots(row['slots'])}, K={row['denoising_steps']}" for row in rows
    ]
    notes = [
        "Measured under a profiler: what it adds is taken off Python's share.",
        made(results["dream_speed"], rows),
    ]
    return table(header, lines, notes)


def part_names(rows: list[Result]) -> list[str]:
    """Of all parts of the rows, Python's last."""
    names = dict.fromkeys(name for row in rows for name in row["milliseconds"])
    return [*(name for name in names if name != "Python"), "Python"]


def _share_of(row: Result, name: str) -> str:
    spent = row["milliseconds"]
    return f"{spent[name]:.2f} ({spent[name] / sum(spent.values()):.0%})"


def _of_loop(results: Results) -> str:
    loop = results["open_loop"]
    if not loop:
        return ""
    clips = loop["clips"]
    return (
        f"Quality: {clips['clips']} clips of {clips['episodes']} held-out episodes, "
        f"{clips['context']} frames watched, {clips['horizon']} imagined, {loop['dtype']}; "
        f"`{loop['command']}`."
    )
