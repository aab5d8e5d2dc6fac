"""Grammars for one tokenizer: compiled in a process beside this one, within limits, and kept for the next.

The grammar is one of xgrammar's structural tags, as vLLM takes it, so that both backends enforce the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import OrderedDict
from typing import Any

import structlog
import xgrammar

from runtime.engines.base import EngineBusy, EngineRefused
from runtime.engines.transformers.grammar.mask import Mask
from runtime.engines.transformers.grammar.program import COMPILED, HEAD, REFUSED

log = structlog.get_logger()

_TIMES = 6
"""How many times as long as its processor time a grammar may take where the machine is busy."""
_ROOM = 1 << 30
_LARGEST = 64 << 20
"""Bytes of one compiled grammar: reading it costs this process 0.1 s for each MiB or so."""
_KEPT = 128 << 20
"""Bytes of all that are kept."""
_WAITING = 16
"""Grammars in the making; more are answered 429."""
_TOO_MUCH = "The schema cannot be enforced: it takes too much time or memory to compile; use a simpler one."


class Compiler:
    """For the event loop. The process starts with the first grammar, for a few seconds."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        vocab_size: int,
        ends: frozenset[int],
        cpu_seconds: int,
        seconds: float | None = None,
        room: int = _ROOM,
    ) -> None:
        """`tokenizer`: the transformers library's. `ends`: the tokens that end a text. `room`: bytes.

        `cpu_seconds`, for one grammar: those that pass the checks on schemas need up to 6 on a slow machine.
        `seconds`: by the clock; None: six times as long.
        """
        self._info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocab_size, stop_token_ids=sorted(ends) or None
        )
        self._vocab_size = vocab_size
        self._seconds = cpu_seconds * _TIMES if seconds is None else seconds
        self._arguments = [str(cpu_seconds), str(room)]
        self._process: asyncio.subprocess.Process | None = None
        self._one = asyncio.Lock()
        self._making: dict[str, asyncio.Task[None]] = {}
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    async def mask(self, grammar: str, param: str | None) -> Mask:
        """A new answer's mask. Raises EngineRefused, naming `param`, where there is no such grammar or it
        takes too much, and EngineBusy where many are waiting.
        """
        if grammar not in self._kept:
            task = self._making.get(grammar)
            if task is None:
                if len(self._making) >= _WAITING:
                    raise EngineBusy
                task = self._making[grammar] = asyncio.create_task(self._make(grammar))
                task.add_done_callback(lambda _: self._making.pop(grammar))
            try:
                # A client that leaves stops nobody else's grammar, and its own is made for the next time.
                await asyncio.shield(task)
            except EngineRefused as refused:
                raise EngineRefused(str(refused), param) from refused
        self._kept.move_to_end(grammar)
        return Mask(self._kept[grammar][0], self._vocab_size)

    async def stop(self) -> None:
        """Ends the process, and what it works on."""
        for task in list(self._making.values()):
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        await self._end()

    async def _make(self, grammar: str) -> None:
        async with self._one:
            answer = await self._answer(grammar)
            letter, body = answer[:1], answer[1:]
            if letter == REFUSED:
                raise EngineRefused(f"The schema cannot be enforced: {body.decode()}")
            if letter != COMPILED or len(body) > _LARGEST:
                raise EngineRefused(_TOO_MUCH)
            text = body.decode()
            compiled = await asyncio.to_thread(xgrammar.CompiledGrammar.deserialize_json, text, self._info)
        while self._kept and sum(size for _, size in self._kept.values()) + len(body) > _KEPT:
            self._kept.popitem(last=False)
        self._kept[grammar] = compiled, len(body)

    async def _answer(self, grammar: str) -> bytes:
        """What the process says. After anything else but an answer the next one finds a new process."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask(grammar)
        except TimeoutError:
            await self._end()
            raise EngineRefused(_TOO_MUCH) from None
        except (asyncio.IncompleteReadError, OSError) as error:
            log.error("the compiler of grammars ended", error=str(error))
            await self._end()
            raise EngineRefused("The schema cannot be enforced: its compiler ended.") from error

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the child that compiles
            await process.wait()

    async def _ask(self, grammar: str) -> bytes:
        if self._process is None or self._process.returncode is not None:
            self._process = await self._start()
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None
        assert writer is not None
        await _send(writer, grammar.encode())
        (length,) = HEAD.unpack(await reader.readexactly(HEAD.size))
        return await reader.readexactly(length)

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "runtime.engines.transformers.grammar.program",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # what is wrong shows when it is asked
            await _send(process.stdin, self._info.serialize_json().encode())
        return process


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(HEAD.pack(len(message)) + message)
    await writer.drain()
