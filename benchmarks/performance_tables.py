"""The tables of the performance page, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.performance_results import COMMANDS, Quality, Result, Results

DTYPES = ("float32", "bfloat16")
NONE = "—"
UNKNOWN = "not measured"
TOLERANCE = 0.02
"""How much dearer than a young one an old dream's step may be."""
PRODUCTS = ("matrix products", "convolutions")


def all_tables(results: Results) -> dict[str, str]:
    """Name → Markdown."""
    makers = {
        "machine": (machine, "dream_speed"),
        "passes": (passes, "dream_speed"),
        "slots": (slots, "dream_speed"),
        "peers": (peers, "dream_speed"),
        "real": (real, "dream_speed"),
        "ages": (ages, "dream_speed"),
        "roofline": (roofline, "dream_speed"),
        "parts": (parts, "dream_speed"),
        "training": (training, "training_speed"),
        "operations": (operations, "training_speed"),
        "adapter": (adapter, "adapter_speed"),
        "endurance": (endurance, "endurance"),
        "state": (state, "state_bytes"),
    }
    tables = {}
    for name, (make, file) in makers.items():
        tables[name] = make(results) or f"{UNKNOWN.capitalize()} yet: `{COMMANDS[file]}`.\n"
    return tables


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
    return _table(header, lines, [note]) if lines else None


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
            *_quality(results.quality(k)),
            *(NONE if row is None else _number(row["frames_per_second"]) for row in found),
            *(_milliseconds(row[x]) for row in latency for x in ("seconds_median", "seconds_99th")),
        ])  # fmt: skip
    frames = _horizon(results)
    header = ["K", "PSNR, frame 1", f"mean of {frames}", f"frame {frames}"]
    header += [f"frames/s, {_slots(count)}" for count in counts]
    header += ["one slot, median ms", "p99 ms"]
    notes = [
        f"{dtype}; the checkpoint as released makes "
        f"{results.dream('checkpoint')['denoising_passes']} pass(es). PSNR in dB, open loop.",
        _of_loop(results),
        _made(results["dream_speed"], rows),
    ]
    return _table(header, lines, notes)


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
            _psnr(results.quality(row["denoising_steps"])),
            _number(row["frames_per_second"]),
            _milliseconds(row["slots"] / row["frames_per_second"]),
            _percent(row["share_of_matmul_rate"]),
            _percent(row["share_of_roofline"]),
            _number(row["matmul_gflops"][row["dtype"]]),
        ]
        for row in rows
    ]
    header = ["precision", "slots", "K", "PSNR", "frames/s", "ms per step", "of matmul rate",
              "of roofline", "matmul GFLOP/s"]  # fmt: skip
    note = f"PSNR in dB, mean over the {_horizon(results)} frames of an open loop."
    return _table(header, lines, [note, _made(results["dream_speed"], rows)], left=1)


def peers(results: Results) -> str | None:
    """Ours beside other world models, in their unit: frames/s on a machine of their speed."""
    published, checkpoint = results["peers"], results.dream("checkpoint")
    if not published or not checkpoint:
        return None
    k, counts = checkpoint["denoising_passes"], published["slots"]
    unit = published["matmul_gflops"]["float32"]
    lines, best = [], {}
    for model in published["models"]:
        rates = model["frames_per_second"]
        best[model["name"]] = rates
        about = [f"{model['parameters'] / 1e6:.1f} M"] if "parameters" in model else []
        about += [model["note"]] if "note" in model else []
        lines.append([model["name"], ", ".join(about), *map(_stated, rates)])
        if "frames_per_second_glibc_defaults" in model:
            plain = map(_stated, model["frames_per_second_glibc_defaults"])
            lines.append([f"{model['name']}, glibc's defaults", "", *plain])
    ours: dict[str, list[float | None]] = {}
    for dtype in DTYPES:
        found = [results.speed(dtype, count, k) for count in counts]
        measured = [row and row["frames_per_second"] for row in found]
        ours[dtype] = [row and row["frames_per_second"] * _scale(row, unit) for row in found]
        about = f"{checkpoint['parameters'] / 1e6:.1f} M, K={k}, {_psnr(results.quality(k))} dB"
        lines.append([f"**ours, {dtype}, as measured**", about, *map(_number, measured)])
        lines.append([f"**ours, {dtype}, × {unit} / our matmul**", about,
                      *map(_number, ours[dtype])])  # fmt: skip
    header = ["frames/s at … slots", "", *map(str, counts)]
    rows = results.dream("by_slots")
    notes = [
        published["provenance"],
        f"Allocator of the peers: {published['allocator']}. Ours keeps freed memory by itself.",
        f"Their run multiplied float32 matrices at {unit} GFLOP/s, so ours are also stated "
        f"multiplied by {unit} and divided by the float32 rate of our run, in both precisions.",
        _made(results["dream_speed"], rows),
    ]
    ratios = []
    for name, theirs in best.items():
        for dtype, values in ours.items():
            cells = [
                NONE if a is None or b is None else f"{_number(a / b)}×"
                for a, b in zip(values, theirs, strict=True)
            ]
            known = [x for x in theirs if x is not None], [x for x in values if x is not None]
            most = f"{_number(max(known[1]) / max(known[0]))}×" if all(known) else NONE
            ratios.append([name, dtype, *cells, most])
    compared = _table(
        ["ours over", "our precision", *(_slots(count) for count in counts), "best over best"],
        ratios, _aims(published, ours), left=2,
    )  # fmt: skip
    return _table(header, lines, notes, left=2) + "\n" + compared


def _scale(row: Result, unit: float) -> float:
    return unit / row["matmul_gflops"]["float32"]


def _aims(published: Result, ours: dict[str, list[float | None]]) -> list[str]:
    """Whether each aim is reached, at the number of slots where it is furthest from it."""
    notes = []
    models = {model["name"]: model["frames_per_second"] for model in published["models"]}
    for name, factor in published["aims"].items():
        against = {name: models[name]} if name in models else models
        reached = []
        for dtype, values in ours.items():
            ratios = [
                a / b
                for theirs in against.values()
                for a, b in zip(values, theirs, strict=True)
                if a is not None and b is not None
            ]
            if ratios:
                verdict = "reached" if min(ratios) >= factor else "not reached"
                low, high = _number(min(ratios)), _number(max(ratios))
                reached.append(f"{verdict} in {dtype} ({low}× to {high}×)")
        notes.append(f"Aim, {factor}× {name} at equal slots: {', '.join(reached) or UNKNOWN}.")
    return notes


def real(results: Results) -> str | None:
    """Dreams beside the real environment in as many processes as there are cores."""
    found = results.dream("against_real")
    if not found:
        return None
    readings = {
        f"dream, {found['slots']} slots, K={found['denoising_steps']}, {found['dtype']}": (
            found["dream_frames_per_second"],
            _psnr(results.quality(found["denoising_steps"])),
        ),
        f"`{found['env_id']}` in {found['real_processes']} processes": (
            found["real_frames_per_second"],
            NONE,
        ),
    }
    lines = [
        [name, _number(_median(rates)), f"{_number(min(rates))} … {_number(max(rates))}", psnr]
        for name, (rates, psnr) in readings.items()
    ]
    notes = [
        f"In turns; dream over real: **{found['ratio']:.2f}**.",
        _made(results["dream_speed"], [found]),
    ]
    return _table(["", "frames/s, median", "least … most", "PSNR"], lines, notes)


def ages(results: Results) -> str | None:
    """Latency and bytes of old dreams beside young ones."""
    lines, notes = [], []
    for name, run, row in results.ages():
        low, high = row["low"], row["high"]
        interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        lines.append([
            f"{row['frames']:,}",
            str(run["slots"]),
            _milliseconds(row["seconds_per_step"]),
            _milliseconds(row["seconds_per_young_step"]),
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
                f"Float32 matmul of `{results[name]['command']}`: {_number(rate['float32'])} "
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
    return _table(header, lines, notes)


def _verdict(row: Result) -> str:
    low, high = row["low"], row["high"]
    if low is None or low <= 1 + TOLERANCE < high:
        return "open"
    return "yes" if high <= 1 + TOLERANCE else "no"


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
                _milliseconds(row["arithmetic_seconds"]),
                _milliseconds(row["traffic_seconds"]),
                _milliseconds(taken),
                _percent(row["share_of_roofline"]),
                _number(row["flops_per_byte"]),
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
        f"K={k}, PSNR {_psnr(results.quality(k))} dB. {'; '.join(work)}.",
        f"Copies of this run: {copied:.1f} GB/s.",
        _made(results["dream_speed"], rows),
    ]
    header = ["precision", "slots", "arithmetic, ms", "traffic, ms", "measured, ms", "reached",
              "FLOP per byte"]  # fmt: skip
    return _table(header, lines, notes)


def parts(results: Results) -> str | None:
    """Where a step's time goes."""
    rows = results.dream("parts")
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row["milliseconds"]))
    lines = [
        [name, *(NONE if name not in row["milliseconds"] else _share_of(row, name)
                 for row in rows)]
        for name in names
    ]  # fmt: skip
    least = []
    for row in rows:
        speed = results.speed(row["dtype"], row["slots"], row["denoising_steps"])
        least.append(NONE if speed is None else _milliseconds(speed["arithmetic_seconds"]))
    lines += [
        ["*a step without the profiler*", *(f"{row['step_milliseconds']:.2f}" for row in rows)],
        ["*its products at the matmul's rate*", *least],
    ]
    header = ["ms per step (share)"]
    header += [
        f"{row['dtype']}, {_slots(row['slots'])}, K={row['denoising_steps']}" for row in rows
    ]
    notes = [
        "Measured under a profiler: what it adds is taken off Python's share.",
        _made(results["dream_speed"], rows),
    ]
    return _table(header, lines, notes)


def _share_of(row: Result, name: str) -> str:
    spent = row["milliseconds"]
    return f"{spent[name]:.2f} ({spent[name] / sum(spent.values()):.0%})"


def training(results: Results) -> str | None:
    """Training frames/s by window length, every way that was measured."""
    lines, notes = [], []
    for found in results.training:
        for row in found["by_window"]:
            lines.append([
                way(found),
                str(row["window"]),
                str(row["rows"]),
                _number(row["frames_per_second"]),
                f"{row['flops_per_frame'] / 1e6:,.0f}",
                _percent(row["share_of_matmul_rate"]),
                *(_percent(row["share_of_time"][part])
                  for part in ("gradients", "optimiser", "averaging")),
                _number(row["matmul_gflops"][found["dtype"]]),
            ])  # fmt: skip
        notes.append(
            f"{way(found).capitalize()}: preset `{found['preset']}`, "
            f"{found['parameters'] / 1e6:.1f} M parameters trained, {found['objective']['scheme']}."
        )
        notes.append(_made(found, found["by_window"]))
    if not lines:
        return None
    header = ["", "window", "rows", "frames/s", "MFLOP a frame", "of matmul rate", "gradients",
              "optimiser", "averaging", "matmul GFLOP/s"]  # fmt: skip
    return _table(header, lines, notes)


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
            [f"`{row['name']}`", f"{row['calls']:,}", _milliseconds(row["seconds"]),
             _percent(row["seconds"] / profiled["seconds"])]
            for row in profiled["operations"]
        ]  # fmt: skip
        note = (
            f"{way(found).capitalize()}: gradients of {profiled['rows']} windows of "
            f"{profiled['window']} frames, {_milliseconds(profiled['seconds'])} ms in all, under a "
            f"profiler; `{found['command']}`."
        )
        tables.append(_table(["operation", "calls", "ms", "of the time"], lines, [note]))
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
            *(_number(_median(rates[name]))
              for name in ("dream", "vec_env", "dream_and_policy", "collect_rollouts")),
            _percent(measured["overhead"]["adapter"]),
            _percent(measured["overhead"]["collect_rollouts"]),
        ])  # fmt: skip
    k = found["denoising_steps"]
    quality = results.quality(k, found["weights_sha256"])
    notes = [
        f"{found['slots']} slots, episodes of {found['horizon']} steps, {found['dtype']}, K={k}, "
        f"PSNR {_psnr(quality)} dB.",
        _made(found, [found["frame"], found["memory"]]),
    ]
    header = ["observation", "dream", "`DreamVecEnv`", "dream and policy", "PPO's own loop",
              "adapter costs", "the loop costs"]  # fmt: skip
    return _table(header, lines, notes)


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
    return _table(["", ""], lines, [note])


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
    return _table(header, lines, [note])


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str], left: int = 1
) -> str:
    marks = ["---"] * left + ["--:"] * (len(header) - left)
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in (header, marks, *rows))
    return table + "\n\n" + " ".join(dict.fromkeys(note for note in notes if note)) + "\n"


def _made(file: Result, rows: Sequence[Result]) -> str:
    """The command, and the yardsticks of the rows."""

    def span(values: Sequence[float]) -> str:
        texts = _number(min(values)), _number(max(values))
        return texts[0] if texts[0] == texts[1] else " … ".join(texts)

    rates = ", ".join(
        f"{dtype} {span([row['matmul_gflops'][dtype] for row in rows])}" for dtype in DTYPES
    )
    copies = span([row["copied_gigabytes_per_second"] for row in rows])
    return f"`{file['command']}`; matmul {rates} GFLOP/s, copies {copies} GB/s."


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


def _horizon(results: Results) -> int:
    return results["open_loop"].get("clips", {}).get("horizon", 16)


def _quality(found: Quality | None) -> list[str]:
    if found is None:
        return [UNKNOWN] * 3
    return [f"{x:.2f}" for x in (found.curve[0], found.mean, found.curve[-1])]


def _psnr(found: Quality | None) -> str:
    return UNKNOWN if found is None else f"{found.mean:.2f}"


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _slots(count: int) -> str:
    return f"{count} slot{'s' * (count > 1)}"


def _number(value: Any) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def _stated(value: Any) -> str:
    """As many digits as were stated."""
    return NONE if value is None else str(value)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def _percent(share: float) -> str:
    return f"{share:.1%}"
