"""What a container left when it ended: the runtime's state document, or the last line that it wrote."""

from __future__ import annotations

import json
import re
from typing import Any

from stoker.serving.api.reading import Object

LONGEST_LINE = 500  # characters of a log line or of a kubelet's message that are repeated in status

_REASON = re.compile(r"[A-Za-z](?:[A-Za-z0-9_,:]*[A-Za-z0-9_])?")


def document(message: str | None) -> Object | None:
    """The state document that a dying runtime left: the whole termination message, or its last line."""
    for text in (message or "", last_line(message)):
        if text.lstrip().startswith("{"):
            try:
                found = json.loads(text)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return None


def error(state: Object | None) -> tuple[str, str] | None:
    """Reason and message of the error in a state document."""
    found = (state or {}).get("error")
    if not isinstance(found, dict) or not found:
        return None
    message = str(found.get("message") or "the model cannot be loaded")
    return word(found.get("reason"), "ModelLoadFailed"), cut(message)


def last_line(text: str | None) -> str:
    """The last line that says anything."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def word(given: Any, default: str) -> str:
    """A condition's reason must be one word; what is none came from a program we do not know."""
    return given if isinstance(given, str) and _REASON.fullmatch(given) and len(given) <= 64 else default


def cut(text: str) -> str:
    """One line, and not too long a one."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."
