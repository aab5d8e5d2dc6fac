"""JSON as bytes."""

from __future__ import annotations

import json
from typing import Any

text = json.JSONEncoder(ensure_ascii=False).encode
"""A string as JSON."""


def encode(document: Any) -> bytes:
    """Compact JSON as UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
