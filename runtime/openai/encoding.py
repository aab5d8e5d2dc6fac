"""JSON as bytes."""

from __future__ import annotations

import json
from json.encoder import encode_basestring as text
from typing import Any

__all__ = ["encode", "text", "utf8"]
"""`text`: a string as JSON, quotes and all, by the standard library's C function."""


def encode(document: Any) -> bytes:
    """Compact JSON as UTF-8. Raises ValueError for NaN and infinity, which JSON has not: that is a 500.
    Engines refuse them before (`NotFinite`).
    """
    return utf8(json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


# Line ends to Python's `str.splitlines`, with which some clients take streams apart.
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def utf8(made: str) -> bytes:
    """JSON's text as bytes. What stands in strings only becomes its \\u escape where it is a line end to some
    readers, or half a surrogate pair, which UTF-8 cannot hold.
    """
    if not made.isascii():
        for end, escaped in _LINE_ENDS.items():
            made = made.replace(end, escaped)
    return made.encode("utf-8", "backslashreplace")
