"""Messages that no page of ours would send are refused with a reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.play.limits import Meter
from dreamenv.play.messages import FIELDS, BadMessageError, pack, plain, read_message, unpack


def test_a_message_is_read_with_the_fields_that_were_left_out() -> None:
    message = read_message('{"type": "begin", "seed": 3}')
    assert message.kind == "begin" and message.values["seed"] == 3
    assert message.values.keys() == FIELDS["begin"].keys() and message.values["spawn"] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\x00", "binary"), (None, "binary"), ("no", "no JSON"), ("[1]", "object"),
        ('{"type": 1}', "type"), ('{"type": "delete"}', "no message 'delete'"),
        ('{"type": "pause"}', "'on' cannot be None"), ('{"type": "pause", "on": 1}', "cannot be 1"),
        ('{"type": "fork", "all": 1}', "no field 'all'"),
        ('{"type": "go", "step": -1}', "-1"), ('{"type": "go", "step": true}', "True"),
        ('{"type": "go", "step": 1.5}', "1.5"), ('{"type": "speed", "fps": 1e9}', "fps"),
        ('{"type": "speed", "fps": NaN}', "JSON|fps"), ('{"type": "save", "what": "exe"}', "exe"),
        ('{"type": "act", "action": "x", "n": 1}', "action"),
        ('{"type": "act", "action": [[1]], "n": 1}', "action"),
        ('{"type": "act", "action": 1e300, "n": 1}', "action"),
        ('{"type": "act", "action": 100000000000000000000000, "n": 1}', "action"),
        ('{"type": "begin", "start": 5}', "start"), ("[" * 9000, "JSON"),
        (json.dumps({"type": "begin", "start": "x" * 20_000}), "at most"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_message_is_said(text: str | bytes | None, reason: str) -> None:
    with pytest.raises(BadMessageError, match=reason):
        read_message(text)


@settings(max_examples=60)
@given(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            lambda kind, rest: json.dumps({"type": kind, **rest}),
            st.sampled_from(sorted(FIELDS)),
            st.dictionaries(
                st.sampled_from(["on", "n", "action", "step", "fps", "what", "seed"]),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3), max_leaves=4,
                ),
            ),
        ),
    )
)  # fmt: skip
def test_any_text_is_a_message_or_refused(text: str) -> None:
    try:
        assert read_message(text).kind in FIELDS
    except BadMessageError as error:
        assert str(error)


def test_pictures_come_out_of_a_message_as_they_went_in() -> None:
    header, parts = unpack(pack({"type": "frame", "ü": 1}, [b"abc", b"", b"de"]))
    assert header["ü"] == 1 and header["sizes"] == [3, 0, 2] and parts == [b"abc", b"", b"de"]
    assert plain(float("nan")) is None and plain(1 / 3) == 0.33333


def test_a_meter_lets_bursts_pass_and_floods_not() -> None:
    now = [0.0]
    meter = Meter(10, lambda: now[0])
    assert [meter.take() for _ in range(21)] == [True] * 20 + [False]
    now[0] = 0.5
    assert [meter.take() for _ in range(6)] == [True] * 5 + [False]
