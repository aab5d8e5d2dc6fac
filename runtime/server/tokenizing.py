"""Prompts to tokens, and back, beside the event loop: a few threads, and no longer than the deadline.

A prompt's own time is its client's affair (400); time that it waits for others' is the server's (503).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from runtime.openai.limits import Limits
from runtime.openai.problem import ApiProblem
from runtime.openai.prompts import check_length
from runtime.text.templates.renderer import PromptError, Renderer
from runtime.text.tokenizer import Message, Tokenizer

# Tokenising this many characters takes about a millisecond; more goes to a thread.
_INLINE_CHARACTERS = 4000
_SIZE = 100  # characters of a prompt that take as long as one token on its way back to text
_THREADS = 2

T = TypeVar("T")


class Tokenizing:
    """Calls a tokenizer. Raises ApiProblem: 400 that names the field, 503 where too many are before it."""

    def __init__(self, tokenizer: Tokenizer, limits: Limits) -> None:
        bounds = limits.bounds
        self._tokenizer = tokenizer
        self._limits = limits
        self._seconds = bounds.tokenize_seconds
        template = tokenizer.chat
        self._renderer = (
            Renderer(template, seconds=bounds.template_seconds, characters=bounds.max_template_characters)
            if template is not None
            else None
        )
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tokenize")
        self._free = asyncio.Semaphore(_THREADS)

    async def text(self, prompt: str | tuple[int, ...], param: str) -> Sequence[int]:
        """A completion's prompt."""
        if isinstance(prompt, tuple):
            return prompt
        tokens = await self._call(lambda: self._tokenizer.encode(prompt), len(prompt), param)
        return _some(tokens, param)

    async def chat(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> Sequence[int]:
        """A chat's prompt."""
        if self._renderer is None:
            size = sum(len(message["content"]) for message in messages) + _INLINE_CHARACTERS * len(tools)
            return await self._call(lambda: self._tokenizer.encode_chat(messages, tools), size, "messages")
        text = await self._rendered(self._renderer, messages, tools)
        check_length(len(text), self._limits, "messages")
        tokens = await self._call(lambda: self._tokenizer.encode_rendered(text), len(text), "messages")
        return _some(tokens, "messages")

    async def decoded(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return await self._call(lambda: self._tokenizer.decode(tokens), _SIZE * len(tokens), "tokens")

    async def texts(self, tokens: Sequence[int], param: str) -> list[str]:
        """The text of each token by itself."""
        text = self._tokenizer.token_text
        return await self._call(lambda: [text(each) for each in tokens], _SIZE * len(tokens), param)

    def start(self) -> None:
        """Starts what renders, so that the first chat need not wait for it."""
        if self._renderer is not None:
            self._renderer.start()

    async def close(self) -> None:
        """Ends what renders."""
        if self._renderer is not None:
            await self._renderer.close()

    async def _rendered(self, renderer: Renderer, messages: Sequence[Message], tools: Sequence[Any]) -> str:
        """The renderer bounds what each chat takes; so what is late here waited for others."""
        try:
            async with asyncio.timeout(self._seconds or None):
                return await renderer.render(messages, tools)
        except TimeoutError:
            raise self._busy() from None
        except PromptError as error:
            raise ApiProblem(400, str(error), param="messages", code="invalid_value") from error

    async def _call(self, work: Callable[[], T], size: int, param: str) -> T:
        try:
            if size <= _INLINE_CHARACTERS:
                return work()
            return await self._in_thread(work, param)
        except PromptError as error:
            raise ApiProblem(400, str(error), param=param, code="invalid_value") from error

    async def _in_thread(self, work: Callable[[], T], param: str) -> T:
        try:
            async with asyncio.timeout(self._seconds or None):
                await self._free.acquire()
        except TimeoutError:
            raise self._busy() from None
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        running.add_done_callback(self._freed)
        try:
            async with asyncio.timeout(self._seconds or None):
                return await asyncio.shield(running)  # its thread is taken until it ends
        except TimeoutError:
            message = f"`{param}` took the tokenizer longer than {self._seconds:g} s."
            raise ApiProblem(400, message, param=param, code="timeout") from None

    def _freed(self, running: asyncio.Future[Any]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()  # where nobody waits for it any more, it is nobody's

    def _busy(self) -> ApiProblem:
        message = f"The tokenizer has too much to do; this request waited {self._seconds:g} s."
        headers = {"Retry-After": str(max(1, math.ceil(self._seconds)))}
        return ApiProblem(503, message, code="overloaded", headers=headers)


def _some(tokens: Sequence[int], param: str) -> Sequence[int]:
    if not tokens:
        raise ApiProblem(400, f"`{param}` is empty.", param=param, code="invalid_value")
    return tokens
