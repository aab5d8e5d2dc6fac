"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds(time: str | None) -> float:
    """An RFC 3339 time as seconds since the epoch; 0 where there is none."""
    if not time:
        return 0.0
    return datetime.fromisoformat(time).astimezone(UTC).timestamp()
