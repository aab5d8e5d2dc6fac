"""The lines of a watch: one JSON document each, however the network cut them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass

from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.resource import Object

# etcd takes 1.5 MiB per object, stored as protobuf; JSON may be a few times that. A line longer than
# this is no object, and collecting it would only eat memory.
_LONGEST_LINE = 16 * 1024 * 1024


@dataclass(frozen=True)
class WatchEvent:
    """One change. `type` is ADDED, MODIFIED, DELETED or BOOKMARK; a bookmark's object has only a version."""

    type: str
    object: Object


async def split_lines(
    chunks: AsyncIterable[bytes], longest: int = _LONGEST_LINE
) -> AsyncGenerator[bytes, None]:
    """Whole lines out of chunks of any size. What a cut stream leaves behind its last newline is dropped."""
    buffer = bytearray()
    async for chunk in chunks:
        seen = len(buffer)  # never search the same byte twice: chunks may be single bytes
        buffer += chunk
        while (end := buffer.find(b"\n", seen)) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            seen = 0
            if line.strip():
                yield line
        if len(buffer) > longest:
            raise ConnectionFailed(f"a watch line is longer than {longest} bytes")


def parse_event(line: bytes) -> WatchEvent:
    """An event from its line. An ERROR event raises the ApiError it carries; nonsense, ConnectionFailed."""
    try:
        # A byte that is no UTF-8 spoils one string of one object; refusing it would stop the watch at
        # this object for ever, since each new watch would begin with it.
        event = json.loads(line.decode(errors="replace"))
        kind, obj = event["type"], event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConnectionFailed(f"not a watch event: {line[:100]!r}") from error
    if kind == "ERROR":
        raise ApiError.from_status(obj)
    return WatchEvent(kind, obj)
