"""Prompts to tokens beside the event loop: a few threads, and no longer than the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from runtime.openai.problem import ApiProblem
from runtime.text.tokenizer import Message, PromptError, Tokenizer

# Tokenising this many characters takes about a millisecond; more goes to a thread.
_INLINE_CHARACTERS = 4000
_THREADS = 2

T = TypeVar("T")


class Tokenizing:
    """Calls a tokenizer. Raises ApiProblem (400) that names the field."""

    def __init__(self, tokenizer: Tokenizer, seconds: float) -> None:
        self._tokenizer = tokenizer
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tokenize")

    async def text(self, prompt: str | tuple[int, ...], param: str) -> Sequence[int]:
        """A completion's prompt."""
        if isinstance(prompt, tuple):
            return prompt
        tokens = await self._call(lambda: self._tokenizer.encode(prompt), len(prompt), param)
        if not tokens:
            raise ApiProblem(400, f"`{param}` is empty.", param=param, code="invalid_value")
        return tokens

    async def chat(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> Sequence[int]:
        """A chat's prompt."""
        size = sum(len(message["content"]) for message in messages)
        size += _INLINE_CHARACTERS * len(tools)
        return await self._call(lambda: self._tokenizer.encode_chat(messages, tools), size, "messages")

    async def _call(self, work: Callable[[], T], size: int, param: str) -> T:
        try:
            if size <= _INLINE_CHARACTERS:
                return work()
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._seconds or None):
                return await loop.run_in_executor(self._pool, work)
        except TimeoutError:
            message = f"`{param}` did not become tokens within {self._seconds:g} s."
            raise ApiProblem(400, message, param=param, code="timeout") from None
        except PromptError as error:
            raise ApiProblem(400, str(error), param=param, code="invalid_value") from error
