"""What HTTP answers mean for a fetch, whoever carries them."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable

from runtime.storage.retry import Transient

# Too early, too many, and what servers and what stands before them say when they are overloaded.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; None where there is none or it is a date."""
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


def from_start(
    chunks: Iterable[bytes], status: int, content_range: str | None, start: int, size: int
) -> Generator[bytes, None, None]:
    """The bytes from `start` on, of an answer that may not have begun there.

    206 must begin where it was asked to, in a file of the size that was announced; 200 begins at 0, whatever
    was asked: a proxy that knows no ranges. Raises Transient.
    """
    skip = start
    if status == 206:
        found = _RANGE.fullmatch(content_range or "")
        if found is None or int(found[1]) != start or found[3] not in ("*", str(size)):
            raise Transient(f"asked for bytes from {start} of {size}, got {content_range or 'no range'}")
        skip = 0
    for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:] if skip else chunk
        skip = 0
