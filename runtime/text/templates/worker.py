"""Renders one chat template, in a process of its own.

A template is a program of whoever made the model: it may loop for ever, or multiply a string until memory
is used up, and neither can be stopped within a thread. Here the kernel ends the process once a rendering has
used its processor time, even inside of a C function, and its memory is bounded. Run as a file: it imports
nothing of ours and of the libraries Jinja alone, so that it starts fast and holds little.

Both ways each message is JSON behind its length (4 bytes, big endian). First comes what to render
(`template`, `tools_template`, `variables`, `seconds`, `characters`), then `messages` and `tools` for each
rendering. Answers hold `text`, or `problem` and whether the template itself `refused`.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_MEMORY = 1 << 30
_COMPILE_SECONDS = 5.0

Answer = dict[str, Any]


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what a model says, for training. Its text is rendered like any other."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own form

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """What is within, with variables of its own as in the library."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

    def said(self, caller: Callable[[], str]) -> str:
        """The text within."""
        return caller()


def environment() -> ImmutableSandboxedEnvironment:
    """What the transformers library gives templates, so that the same text comes out (a test compares)."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = _tojson
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005 - as the library's
    return made


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own would escape what HTML must."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def make(asked: dict[str, Any]) -> Callable[[dict[str, Any]], Answer]:
    """A function that renders. A template that cannot be compiled makes one that always says why."""
    try:
        jinja = environment()
        plain = jinja.from_string(asked["template"])
        with_tools = jinja.from_string(asked["tools_template"])
    except (jinja2.TemplateError, MemoryError, RecursionError) as error:
        broken = {"problem": _words(error), "refused": False}
        return lambda _: broken

    def render(request: dict[str, Any]) -> Answer:
        try:
            return _render(with_tools if request["tools"] else plain, asked, request)
        except Exception as error:
            refused = type(error) is jinja2.TemplateError  # raise_exception: written for users
            return {"problem": _words(error), "refused": refused}

    return render


def _render(template: jinja2.Template, asked: dict[str, Any], request: dict[str, Any]) -> Answer:
    left = asked["characters"]
    pieces = []
    values = {**request, "documents": None, "add_generation_prompt": True, **asked["variables"]}
    for piece in template.generate(values):
        left -= len(piece)
        if left < 0:
            return {"problem": f"it makes more than {asked['characters']} characters", "refused": False}
        pieces.append(piece)
    return {"text": "".join(pieces)}


def _words(error: BaseException) -> str:
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno}: {error.message}"[:200]
    if isinstance(error, jinja2.TemplateError):
        return str(error)[:200]
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    return "it is nested too deeply" if isinstance(error, RecursionError) else type(error).__name__


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message; None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    return decode(stream.read(struct.unpack(">I", head)[0]))


def decode(data: bytes) -> dict[str, Any]:
    """A message without its length."""
    document: dict[str, Any] = json.loads(data)
    return document


def frame(document: dict[str, Any]) -> bytes:
    """A message as bytes."""
    data = json.dumps(document).encode()
    return struct.pack(">I", len(data)) + data


def main() -> None:
    """Answers until its input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    asked = read(source)
    if asked is None:
        return
    signal.setitimer(signal.ITIMER_PROF, _COMPILE_SECONDS)  # Jinja computes what is constant
    render = make(asked)
    while (request := read(source)) is not None:
        # Processor time, as the machine may be busy; the signal's default is to end the process.
        signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
        answer = render(request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        target.write(frame(answer))
        target.flush()


if __name__ == "__main__":
    main()
