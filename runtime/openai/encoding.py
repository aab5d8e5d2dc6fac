"""JSON as bytes."""

from __future__ import annotations

import json
from json.encoder import encode_basestring as text
from typing import Any

__all__ = ["encode", "text", "utf8"]
"""`text`: a string as JSON, quotes and all, by the standard library's C function."""


def encode(document: Any) -> bytes:
    """Compact JSON as UTF-8."""
    return utf8(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def utf8(made: str) -> bytes:
    """JSON's text as bytes. Half a surrogate pair, which UTF-8 cannot hold, becomes its \\u escape: it can
    stand in a string.
    """
    return made.encode("utf-8", "backslashreplace")
