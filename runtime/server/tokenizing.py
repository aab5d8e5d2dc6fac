"""Prompts to tokens beside the event loop: a few threads, and no longer than the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from runtime.flags.bounds import Bounds
from runtime.openai.problem import ApiProblem
from runtime.text.templates.renderer import PromptError, Renderer
from runtime.text.tokenizer import Message, Tokenizer

# Tokenising this many characters takes about a millisecond; more goes to a thread.
_INLINE_CHARACTERS = 4000
_THREADS = 2

T = TypeVar("T")


class Tokenizing:
    """Calls a tokenizer. Raises ApiProblem (400) that names the field."""

    def __init__(self, tokenizer: Tokenizer, bounds: Bounds) -> None:
        self._tokenizer = tokenizer
        self._seconds = bounds.tokenize_seconds
        template = tokenizer.chat
        self._renderer = (
            Renderer(template, seconds=bounds.template_seconds, characters=bounds.max_template_characters)
            if template is not None
            else None
        )
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tokenize")

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
        text = await self._within(self._renderer.render(messages, tools), "messages")
        tokens = await self._call(lambda: self._tokenizer.encode_rendered(text), len(text), "messages")
        return _some(tokens, "messages")

    def start(self) -> None:
        """Starts what renders, so that the first chat need not wait for it."""
        if self._renderer is not None:
            self._renderer.start()

    async def close(self) -> None:
        """Ends what renders."""
        if self._renderer is not None:
            await self._renderer.close()

    async def _call(self, work: Callable[[], T], size: int, param: str) -> T:
        async def called() -> T:
            if size <= _INLINE_CHARACTERS:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

        return await self._within(called(), param)

    async def _within(self, work: Awaitable[T], param: str) -> T:
        try:
            async with asyncio.timeout(self._seconds or None):
                return await work
        except TimeoutError:
            message = f"`{param}` did not become tokens within {self._seconds:g} s."
            raise ApiProblem(400, message, param=param, code="timeout") from None
        except PromptError as error:
            raise ApiProblem(400, str(error), param=param, code="invalid_value") from error


def _some(tokens: Sequence[int], param: str) -> Sequence[int]:
    if not tokens:
        raise ApiProblem(400, f"`{param}` is empty.", param=param, code="invalid_value")
    return tokens
