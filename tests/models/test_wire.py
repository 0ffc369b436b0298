"""Messages over a pipe."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.models import wire

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=4)


def written(messages: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    for message in messages:
        wire.send(stream, message)
    return stream.getvalue()


@given(MESSAGES)
def test_messages_arrive_as_they_were_sent_and_then_comes_the_end(messages: list[dict[str, Any]]) -> None:
    stream = io.BytesIO(written(messages))
    assert [wire.receive(stream) for _ in messages] == messages
    assert wire.receive(stream) is None


@given(MESSAGES.filter(bool), st.data())
def test_a_cut_stream_gives_the_whole_messages_and_then_the_end(
    messages: list[dict[str, Any]], data: st.DataObject
) -> None:
    whole = written(messages)
    stream = io.BytesIO(whole[: data.draw(st.integers(0, len(whole) - 1))])
    got = list(iter(lambda: wire.receive(stream), None))
    assert got == messages[: len(got)]
    assert len(got) < len(messages)


def test_a_lone_surrogate_survives() -> None:
    assert wire.receive(io.BytesIO(written([{"text": "\ud800"}]))) == {"text": "\ud800"}


def test_no_message_is_over_the_limit() -> None:
    with pytest.raises(ValueError, match="limit"):
        wire.send(io.BytesIO(), {"text": "x" * wire.MAX_MESSAGE_BYTES})
    with pytest.raises(ValueError, match="limit"):
        wire.receive(io.BytesIO(b"\xff\xff\xff\xff"))


def test_only_an_object_is_a_message() -> None:
    data = json.dumps([1]).encode()
    with pytest.raises(ValueError, match="object"):
        wire.receive(io.BytesIO(len(data).to_bytes(4, "little") + data))
