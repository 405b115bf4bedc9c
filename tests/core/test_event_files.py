"""Charts of a run that is resumed show every step once."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from dreamenv.core.event_files import forget_events_after


def logged(folder: Path, tag: str) -> list[int]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars(tag)] if tag in events.scalars.Keys() else []


def log(folder: Path, steps: range, *tags: str) -> None:
    with SummaryWriter(str(folder)) as writer:
        for step in steps:
            for tag in tags:
                writer.add_scalar(tag, step / 2, step)


def test_later_values_go_and_others_stay(tmp_path: Path) -> None:
    forget_events_after(tmp_path / "absent", 0)
    log(tmp_path, range(1, 6), "a/loss", "b/loss")
    forget_events_after(tmp_path, 3, "a/")
    assert logged(tmp_path, "a/loss") == [1, 2, 3]
    assert logged(tmp_path, "b/loss") == [1, 2, 3, 4, 5]
    forget_events_after(tmp_path, 2)
    assert logged(tmp_path, "a/loss") == logged(tmp_path, "b/loss") == [1, 2]


def test_what_a_kill_cut_off_goes(tmp_path: Path) -> None:
    log(tmp_path, range(1, 4), "loss")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for harm, steps in ((whole[:-3], [1, 2]), (whole + bytes(7), [1, 2, 3])):
        path.write_bytes(harm)
        forget_events_after(tmp_path, 9)
        assert path.stat().st_size < len(harm)
        assert logged(tmp_path, "loss") == steps
        before = path.stat().st_mtime_ns
        forget_events_after(tmp_path, 9)
        assert path.stat().st_mtime_ns == before  # nothing to do, nothing written
