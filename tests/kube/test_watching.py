"""Watch lines out of a stream that the network cut anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.watching import parse_event, split_lines


async def chunks_of(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def split(chunks: Sequence[bytes], longest: int = 1000) -> list[bytes]:
    async def collect() -> list[bytes]:
        return [line async for line in split_lines(chunks_of(chunks), longest)]

    return asyncio.run(collect())


@given(
    st.lists(st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line and line.strip())),
    st.binary(max_size=5).filter(lambda rest: b"\n" not in rest),
    st.lists(st.integers(0, 200), max_size=20),
)
def test_lines_are_the_same_however_they_were_cut(lines: list[bytes], rest: bytes, cuts: list[int]) -> None:
    stream = b"".join(line + b"\n" for line in lines) + rest
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert split(chunks) == lines
    assert split([stream[i : i + 1] for i in range(len(stream))]) == lines


def test_a_line_without_end_is_given_up() -> None:
    with pytest.raises(ConnectionFailed, match="longer than 1000 bytes"):
        split([b"x" * 600] * 2)


@pytest.mark.timeout(20)
def test_a_long_line_in_small_chunks_takes_linear_time() -> None:
    line = b"x" * 3_000_000
    chunks = [line[i : i + 3] for i in range(0, len(line), 3)] + [b"\n"]
    # Searching the buffer anew for each chunk would look at 1.5 TB here.
    assert split(chunks, longest=4_000_000) == [line]


def test_events() -> None:
    event = parse_event(b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}')
    assert (event.type, event.object["metadata"]["name"]) == ("ADDED", "a")


def test_bytes_that_are_no_utf8_spoil_a_string_and_not_the_watch() -> None:
    event = parse_event(b'{"type":"ADDED","object":{"note":"caf\xe9"}}')
    assert event.object["note"] == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("line", [b"<html>", b"[]", b"7", b'{"type":"ADDED"}', b'{"type":"ADDED","obj'])
def test_nonsense_is_a_failed_connection(line: bytes) -> None:
    with pytest.raises(ConnectionFailed, match="not a watch event"):
        parse_event(line)


def test_an_error_event_is_raised() -> None:
    status = {
        "kind": "Status",
        "code": 410,
        "reason": "Expired",
        "message": "too old resource version: 1 (2)",
    }
    with pytest.raises(ApiError) as caught:
        parse_event(json.dumps({"type": "ERROR", "object": status}).encode())
    assert caught.value.is_gone
    assert caught.value.reason == "Expired"


def test_a_version_from_the_future_is_gone_too() -> None:
    status = {
        "code": 504,
        "reason": "Timeout",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1},
    }
    error = ApiError.from_status(status)
    assert error.is_gone
    assert error.retry_after == 1
