"""Finding calls in an answer's text while it grows.

A call is told as soon as its name is whole, then its arguments piece by piece. What looks like a call and is
none (broken JSON, a name that was not offered) stays text. Arguments are the model's own words: a call
that the token limit cut off is told as far as it came.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass

from runtime.openai.tools.forms import Form
from runtime.openai.tools.scan import Object

_SPACE = " \t\r\n"
# The usual order of a call's two keys. Another order is understood once the whole call is there.
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"(?P<name>[^"\\]*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')


@dataclass(frozen=True, slots=True)
class Call:
    """A new call: its place among the calls, its id, the function's name."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of a call's arguments."""

    index: int
    text: str


Event = str | Call | Arguments
"""Text of the answer, or a part of a call."""


class Finder:
    """Turns one choice's text into events. `one`: nothing is told after the first call."""

    def __init__(self, form: Form, names: frozenset[str], *, one: bool) -> None:
        self._opening = form.opening.strip()
        self._closing = form.closing.strip()
        self._names = names
        self._one = one
        self._told = False
        self._buffer = ""
        self._space = ""  # before what may be a call: kept where it is none
        self._state = self._text if self._opening else self._bare
        self._arguments: Object | None = None
        self._rest = Object(depth=1)  # of a call, behind its arguments
        self.calls = 0

    def feed(self, text: str) -> list[Event]:
        """What the new text makes certain."""
        self._buffer += text
        events: list[Event] = []
        # Each state takes what it can and says whether another state should look at the rest.
        while self._state(events, False):
            pass
        return self._cut(events)

    def finish(self) -> list[Event]:
        """What was held back."""
        events: list[Event] = []
        while self._state(events, True):
            pass
        if self._buffer.strip(_SPACE) or not self.calls:
            events.append(self._buffer)
        self._buffer = ""
        return self._cut(events)

    def _cut(self, events: list[Event]) -> list[Event]:
        told: list[Event] = []
        for each in events:
            if isinstance(each, str):
                if each and not (self._one and self._told):
                    told.append(each)
            elif each.index == 0 or not self._one:
                self._told = True
                told.append(each)
        return told

    def _text(self, events: list[Event], last: bool) -> bool:
        """Outside of calls, where calls are marked."""
        before, found, after = self._buffer.partition(self._opening)
        if found:
            text = before.rstrip(_SPACE)
            events.append(text)
            self._buffer, self._space = after, before[len(text) :]
            self._state = self._call
            return True
        if not last:
            keep = _held(self._buffer, self._opening)
            certain, self._buffer = (
                self._buffer[: len(self._buffer) - keep],
                self._buffer[len(self._buffer) - keep :],
            )
            events.append(certain)
        return False

    def _bare(self, events: list[Event], last: bool) -> bool:
        """Where a call may begin without a mark: at the start, and after another call."""
        rest = self._buffer.lstrip(_SPACE + (";" if self.calls else ""))
        if not rest:
            return False
        if rest[0] == "{":
            self._buffer, self._space = rest, self._buffer[: len(self._buffer) - len(rest)]
            self._state = self._call
            return True
        self._state = self._plain
        return True

    def _plain(self, events: list[Event], last: bool) -> bool:
        events.append(self._buffer)
        self._buffer = ""
        return False

    def _call(self, events: list[Event], last: bool) -> bool:
        """At a call's JSON object."""
        head = _HEAD.match(self._buffer)
        if head and head["name"] in self._names:
            events.append(self._new(head["name"]))
            self._buffer = self._buffer[head.end() :]
            self._arguments = Object()
            self._state = self._inside
            return True
        whole = self._whole(last)
        if whole is None:
            return False
        text, self._buffer = whole, self._buffer[len(whole) :]
        body = text.removesuffix(self._closing) if self._closing else text
        events.extend(self._understood(body) or [self._space + self._opening + text])
        self._state = self._text if self._opening else self._bare
        return True

    def _whole(self, last: bool) -> str | None:
        """The text of a call that is complete, its closing mark included."""
        if self._closing:
            before, found, _ = self._buffer.partition(self._closing)
            return before + found if found or last else None
        scan = Object()
        size = scan.take(self._buffer)
        return self._buffer[:size] if scan.ended or last else None

    def _understood(self, body: str) -> list[Event] | None:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or document.get("name") not in self._names:
            return None
        arguments = document.get("arguments", document.get("parameters"))
        if isinstance(arguments, str):
            text = arguments
        elif arguments is None:
            text = "{}"
        elif isinstance(arguments, dict):
            text = json.dumps(arguments, ensure_ascii=False)
        else:
            return None
        call = self._new(document["name"])
        return [call, Arguments(call.index, text)]

    def _inside(self, events: list[Event], last: bool) -> bool:
        """In the arguments of a call whose name was told."""
        assert self._arguments is not None
        size = self._arguments.take(self._buffer)
        if size:
            events.append(Arguments(self.calls - 1, self._buffer[:size]))
            self._buffer = self._buffer[size:]
        if not self._arguments.ended:
            return False
        self._rest = Object(depth=1)
        self._state = self._after
        return True

    def _after(self, events: list[Event], last: bool) -> bool:
        """Behind the arguments: up to the end of the call, other keys of it included."""
        if self._closing:
            _, found, after = self._buffer.partition(self._closing)
            if not found and not last:
                return False
            self._buffer, over = after, bool(found)
        else:
            self._buffer = self._buffer[self._rest.take(self._buffer) :]
            over = self._rest.ended
        if over:
            self._state = self._text if self._opening else self._bare
        return over

    def _new(self, name: str) -> Call:
        self.calls += 1
        return Call(self.calls - 1, "call_" + uuid.uuid4().hex[:24], name)


def _held(text: str, mark: str) -> int:
    """How much of the end may belong to what follows: white space before a mark, and a mark's beginning."""
    size = next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:n])), 0)
    body = text[: len(text) - size]
    return size + len(body) - len(body.rstrip(_SPACE))
