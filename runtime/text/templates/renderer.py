"""The worker's other side: one process for each server, started again after it was ended.

Requests are written ahead, so that the worker never waits for this process's event loop between two of them;
it answers in their order, each before it begins the next. So where it is ended, the first that has no answer
is the one that ended it, and the others are asked of the next worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.text.templates import worker

_ANSWER_SECONDS = 10.0  # beside the processor time that it may take: the machine may be busy
_AHEAD = 64  # requests that are written and have no answer
_UNSENT = 64 * 1024  # bytes not taken by the worker yet, from which on no further request is written
_KEPT = ("LD_LIBRARY_PATH", "TZ")

Answer = dict[str, Any]


class PromptError(ValueError):
    """A prompt that cannot be made into tokens; the message is for the client."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template, the one for requests with tools, and the variables that they find beside messages."""

    text: str
    with_tools: str
    variables: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Asked:
    request: dict[str, Any]
    answer: asyncio.Future[Answer]


class Renderer:
    """Renders chats, in the order in which they are asked for, each within `seconds` of processor time."""

    def __init__(self, template: ChatTemplate, *, seconds: float, characters: int) -> None:
        self._opening = {
            "template": template.text,
            "tools_template": template.with_tools,
            "variables": dict(template.variables),
            "seconds": seconds,
            "characters": characters,
        }
        self._seconds = seconds
        self._process: Process | None = None
        self._waiting: deque[_Asked] = deque()  # not written yet
        self._written: deque[_Asked] = deque()  # the worker's, without an answer
        self._answering: asyncio.Task[None] | None = None  # while there is one of either

    def start(self) -> None:
        """Starts the worker before the first chat needs it."""
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_all())

    async def render(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> str:
        """The prompt's text. Raises PromptError; cancelled, it lets the worker finish what it is at."""
        request = {"messages": list(messages), "tools": list(tools) or None}
        asked = _Asked(request, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self.start()
        if self._written:  # the worker is at work: it shall find this one when it is through
            self._write()
        answer = await asked.answer
        if "text" in answer:
            return str(answer["text"])
        if answer["refused"]:
            raise PromptError(f"the model's chat template refuses these messages: {answer['problem']}")
        raise PromptError(f"the model's chat template cannot render these messages: {answer['problem']}")

    async def close(self) -> None:
        """Ends the worker."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
        await self._end()

    async def _answer_all(self) -> None:
        """Answers until nobody waits."""
        try:
            while True:
                if self._process is None or self._process.returncode is not None:
                    self._process = await self._started()
                self._write()
                if not self._written:
                    return
                await self._answer_first(self._process)
        except Exception as error:  # no process could be started, or what it says is no answer
            for asked in (*self._written, *self._waiting):
                if not asked.answer.done():
                    asked.answer.set_exception(error)
        finally:
            self._answering = None
            for asked in (*self._written, *self._waiting):
                asked.answer.cancel()  # where they were not answered: the server ends
            self._written.clear()
            self._waiting.clear()

    def _write(self) -> None:
        """Writes to the worker as much of what waits as it should have."""
        assert self._process is not None
        assert self._process.stdin is not None
        to_worker = self._process.stdin
        unsent = to_worker.transport.get_write_buffer_size
        while self._waiting and len(self._written) < _AHEAD and (not self._written or unsent() < _UNSENT):
            asked = self._waiting.popleft()
            if not asked.answer.done():  # else its client has left
                to_worker.write(worker.frame(asked.request))
                self._written.append(asked)

    async def _answer_first(self, process: Process) -> None:
        """Reads the next answer. A worker that does not give it is ended; those behind wait for another."""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._seconds + _ANSWER_SECONDS):
                (size,) = struct.unpack(">I", await process.stdout.readexactly(4))
                answer = worker.decode(await process.stdout.readexactly(size))
            self._hand_over(answer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            self._hand_over({"problem": f"it takes more than {self._seconds:g} s", "refused": False})
            self._waiting.extendleft(reversed(self._written))
            self._written.clear()
            await self._end()

    def _hand_over(self, answer: Answer) -> None:
        first = self._written.popleft().answer
        if not first.done():  # else its client has left
            first.set_result(answer)

    async def _started(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(Path(worker.__file__)), stdin=PIPE, stdout=PIPE,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},  # no token, no key
            start_new_session=True,  # Ctrl-C in a terminal is for the server
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(worker.frame(self._opening))
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
