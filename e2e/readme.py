"""README's blocks, read so that a test can run them: what is promised there is what happens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One bash block and the output that README shows below it (None: it shows none)."""

    script: str
    language: str | None
    expected: str | None


def steps(readme: Path, start: str) -> Iterator[Step]:
    """The bash blocks from the heading `start` on, each with the block of output that follows it."""
    text = readme.read_text()
    blocks = FENCE.findall(text[text.index(start) :])
    for position, (language, body) in enumerate(blocks):
        if language != "bash":
            continue
        following = blocks[position + 1] if position + 1 < len(blocks) else ("bash", "")
        shown = following if following[0] in {"console", "json", "sse"} else (None, None)
        yield Step(script=body, language=shown[0], expected=shown[1])


def table(text: str) -> list[list[str]]:
    """A kubectl table as rows of cells, cut where the header's columns begin; AGE is masked."""
    lines = [line for line in text.splitlines() if line.strip()]
    starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
    rows = [
        [line[begin:end].strip() for begin, end in zip(starts, [*starts[1:], None], strict=True)]
        for line in lines
    ]
    if rows[0][-1] == "AGE":
        rows = [rows[0], *([*row[:-1], "<age>"] for row in rows[1:])]
    return rows


def shape(value: Any) -> Any:
    """JSON with what changes from run to run replaced by its type: ids, times, texts and where they end."""
    free = {"id": "<id>", "created": "<time>", "text": "<text>", "content": "<text>"}
    free |= {"finish_reason": "<stop or length>", "completion_tokens": "<count>", "total_tokens": "<count>"}

    def walk(key: str, item: Any) -> Any:
        if isinstance(item, dict):
            return {name: walk(name, inner) for name, inner in item.items()}
        if isinstance(item, list):
            return [walk(key, inner) for inner in item]
        if item is not None and key in free:
            return re.sub(r"[0-9a-f]{32}$", "<32 hex>", item) if key == "id" else free[key]
        return item

    return walk("", value)


def events(text: str) -> list[Any]:
    """The data of a server-sent event stream, `[DONE]` included."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
