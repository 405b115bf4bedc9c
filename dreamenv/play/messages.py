"""Messages between a page and its session; those of a page may have been written by anybody."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamenv.core.errors import DreamEnvError
from dreamenv.core.reading import parse_json

MOST_BYTES = 16_384
"""Of a message of a page."""
MOST_TEXT, MOST_NUMBERS = 256, 64
MOST_STEPS = 4000
"""Of an episode that is played: every step is kept, so that one can go back to it."""
SAVED_AS = ("gif", "mp4", "rollout", "start")


class BadMessageError(DreamEnvError, ValueError):
    """A message is none that the page of this server would send."""


@dataclass(frozen=True)
class Message:
    """One message of a page."""

    kind: str
    """A key of `FIELDS`."""
    values: Mapping[str, Any]
    """Its fields, checked; those that may be left out are there, as None."""


Check = Callable[[Any], bool]


def _whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _number(low: float, high: float) -> Check:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_action(value: Any) -> bool:
    """Whether it is a whole number, or numbers; the session asks whether they fit its space."""
    if isinstance(value, list):
        return len(value) <= MOST_NUMBERS and all(_is_number(each) for each in value)
    return _is_number(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 2**53  # not NaN either


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


COUNT = _whole(0, 2**53)
FIELDS: dict[str, dict[str, Check]] = {
    "hello": {"resume": _or_none(_is_text)},
    "act": {"action": _or_none(_is_action), "n": COUNT},
    "pause": {"on": _is_flag},
    "step": {"action": _or_none(_is_action), "n": COUNT},
    "go": {"step": _whole(0, MOST_STEPS)},
    "fork": {},
    "branch": {"index": _whole(0, 1000)},
    "begin": {
        "checkpoint": _or_none(_is_text),
        "passes": _or_none(_whole(1, 64)),
        "horizon": _or_none(_whole(1, MOST_STEPS)),
        "spawn": _or_none(_whole(0, 10**9)),
        "seed": _or_none(_whole(0, 2**32 - 1)),
        "start": _or_none(_is_text),
    },
    "real": {"on": _is_flag},
    "agent": {"name": _or_none(_is_text)},
    "speed": {"fps": _number(0.5, 60)},
    "save": {"what": lambda value: value in SAVED_AS if isinstance(value, str) else False},
}
"""Kind of message → its fields and what each may be. One that may be None may be left out."""


def read_message(text: str | bytes | None) -> Message:
    """The message that a page has sent.

    Raises:
        BadMessageError: it is too long, no JSON, of no known kind, or a field is missing, unknown
            or of the wrong type.
    """
    if not isinstance(text, str):
        raise BadMessageError("messages are text, this one is binary")
    if len(text) > MOST_BYTES:
        raise BadMessageError(f"a message has at most {MOST_BYTES} characters, not {len(text)}")
    try:
        told = parse_json(text)
    except ValueError as error:
        raise BadMessageError(f"this is no JSON: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("type"), str):
        raise BadMessageError("a message is an object with a type")
    kind = told.pop("type")
    if kind not in FIELDS:
        raise BadMessageError(f"there is no message {kind[:40]!r}")
    fields = FIELDS[kind]
    if unknown := sorted(told.keys() - fields.keys()):
        raise BadMessageError(f"{kind} has no field {unknown[0][:40]!r}")
    values = {}
    for name, fits in fields.items():
        values[name] = told.get(name)
        if not fits(values[name]):
            raise BadMessageError(f"{kind}: the field {name!r} cannot be {told.get(name)!r:.60}")
    return Message(kind, values)


def pack(header: dict[str, Any], parts: Sequence[bytes]) -> bytes:
    """A binary message to a page: the header's length (uint32, little endian), it, the parts.

    The header is JSON and says in `sizes` how many bytes each part has.
    """
    text = json.dumps({**header, "sizes": [len(part) for part in parts]}, allow_nan=False)
    encoded = text.encode()
    return b"".join([struct.pack("<I", len(encoded)), encoded, *parts])


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The header and the parts of a message that `pack` has made."""
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    parts, start = [], 4 + length
    for size in header["sizes"]:
        parts.append(message[start : start + size])
        start += size
    return header, parts


def plain(value: float) -> float | None:
    """A number for JSON, rounded to what anybody can see; None where it is not finite."""
    return round(float(value), 5) if math.isfinite(value) else None
