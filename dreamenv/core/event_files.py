"""TensorBoard's event files of a run that is resumed from an earlier step than it had reached."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from dreamenv.core.files import replacing

HEADER, FOOTER = 12, 4
"""Bytes around a record: its length and the length's check sum; the record's own check sum."""


def forget_events_after(folder: Path, step: int, prefix: str = "") -> None:
    """Take out of all event files in a folder the values that lie behind a step.

    They will be logged again: without this, charts would show them twice. What a kill cut off at
    the end of a file goes too.

    Args:
        folder: of the event files; may be absent.
        step: the last one that stays.
        prefix: of the tags that this is about; all others stay.
    """
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        kept = b"".join(_until(record, step, prefix) for record in _records(data))
        if kept != data:
            with replacing(path) as file:
                file.write(kept)


def _records(data: bytes) -> Iterator[bytes]:
    """Whole records with all that surrounds them."""
    start = 0
    while start + HEADER <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        end = start + HEADER + length + FOOTER
        if end > len(data):
            return
        yield data[start:end]
        start = end


def _until(record: bytes, step: int, prefix: str) -> bytes:
    """The record without values of later steps; empty if nothing is left of it."""
    try:
        event = Event.FromString(record[HEADER:-FOOTER])
    except Exception:  # of protobuf's own, whose place changes with its version: it is damaged
        return b""
    values = event.summary.value
    stay = [value for value in values if event.step <= step or not value.tag.startswith(prefix)]
    if len(stay) == len(values):
        return record
    if not stay:
        return b""
    del values[:]
    values.extend(stay)
    whole = io.BytesIO()
    RecordWriter(whole).write(event.SerializeToString())
    return whole.getvalue()
