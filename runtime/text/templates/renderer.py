"""The worker's other side: one process for each server, started again after it was ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.text.templates import worker

_ANSWER_SECONDS = 10.0  # beside the processor time that it may take: the machine may be busy
_KEPT = ("LD_LIBRARY_PATH", "TZ")


class PromptError(ValueError):
    """A prompt that cannot be made into tokens; the message is for the client."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template, the one for requests with tools, and the variables that they find beside messages."""

    text: str
    with_tools: str
    variables: Mapping[str, Any]


class Renderer:
    """Renders chats, one after the other, each within `seconds` of processor time."""

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
        self._turn = asyncio.Lock()

    async def render(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> str:
        """The prompt's text. Raises PromptError; cancelled, it lets the worker finish what it is at."""
        request = {"messages": list(messages), "tools": list(tools) or None}
        answer = await asyncio.shield(asyncio.ensure_future(self._ask(worker.frame(request))))
        if "text" in answer:
            return str(answer["text"])
        if answer["refused"]:
            raise PromptError(f"the model's chat template refuses these messages: {answer['problem']}")
        raise PromptError(f"the model's chat template cannot render these messages: {answer['problem']}")

    async def close(self) -> None:
        """Ends the worker."""
        async with self._turn:
            await self._end()

    async def _ask(self, request: bytes) -> dict[str, Any]:
        async with self._turn:
            if self._process is None or self._process.returncode is not None:
                self._process = await self._start()
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                async with asyncio.timeout(self._seconds + _ANSWER_SECONDS):
                    self._process.stdin.write(request)
                    await self._process.stdin.drain()
                    (size,) = struct.unpack(">I", await self._process.stdout.readexactly(4))
                    answer: dict[str, Any] = worker.decode(await self._process.stdout.readexactly(size))
                    return answer
            except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
                await self._end()
                return {"problem": f"it takes more than {self._seconds:g} s", "refused": False}

    async def _start(self) -> Process:
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
