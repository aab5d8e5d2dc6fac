"""The echo engine: answers with the prompt, token by token, without a model. For tests and load.

A completion is answered with its prompt's tokens, a chat with the last message's content, then the end of
text. With `ignore_eos` it goes round until max_tokens. `token_seconds` is the time before each token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import cycle

from runtime.engines.base import Delta, EngineDead, FinishReason, Load, ModelFacts, Reporter, Sampling
from runtime.state import Phase
from runtime.text.bytes_tokenizer import BEGIN, END, TURN, BytesTokenizer


class EchoEngine:
    """Deterministic: what comes out depends on the prompt and on max_tokens, min_tokens and ignore_eos
    only.
    """

    name = "echo"
    own_metrics = False

    def __init__(
        self,
        *,
        max_model_len: int | None = None,
        max_num_seqs: int | None = None,
        token_seconds: float = 0.0,
        load_seconds: float = 0.0,
    ) -> None:
        self._max_model_len = max_model_len if max_model_len and max_model_len > 0 else 32768
        self._slots = asyncio.Semaphore(max_num_seqs or 4096)
        self._token_seconds = token_seconds
        self._load_seconds = load_seconds
        self._tokenizer = BytesTokenizer()
        self._running = 0
        self._waiting = 0
        self._steps = 0
        self._stopped = False

    async def start(self, report: Reporter) -> ModelFacts:
        """Sleeps for the load time."""
        report.phase(Phase.LOADING)
        await asyncio.sleep(self._load_seconds)
        return ModelFacts(max_model_len=self._max_model_len, tokenizer=self._tokenizer)

    async def stop(self) -> None:
        """Ends unfinished answers at their next token."""
        self._stopped = True

    def problem(self) -> str | None:
        """An echo never fails."""
        return None

    def load(self) -> Load:
        """Answers under way and answers without a slot."""
        return Load(self._running, self._waiting)

    def steps(self) -> int:
        """Tokens given."""
        return self._steps

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        """The prompt's tokens again."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            async for delta in self._echo(_answer(prompt), sampling):
                yield delta
        finally:
            self._running -= 1
            self._slots.release()

    async def _echo(self, answer: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        stream = self._tokenizer.stream()
        source = cycle([*answer, END])
        clock = asyncio.get_running_loop().time
        due = clock()
        for count in range(1, sampling.max_tokens + 1):
            due += self._token_seconds
            # By the clock, not by sleeps, so that many slow streams keep their pace.
            await asyncio.sleep(max(0.0, due - clock()))
            if self._stopped:
                raise EngineDead("the echo engine was stopped")
            self._steps += 1
            token = next(source)
            while token == END and (sampling.ignore_eos or count <= sampling.min_tokens) and answer:
                token = next(source)
            finish = None
            if token == END or token in sampling.stop_token_ids:
                finish = FinishReason.STOP
            elif count == sampling.max_tokens:
                finish = FinishReason.LENGTH
            text = stream.push([token])
            yield Delta(text + stream.flush() if finish else text, [token], finish)
            if finish:
                return


def _answer(prompt: Sequence[int]) -> list[int]:
    """What is echoed: the last complete chat turn's content, else the whole prompt."""
    turns = [index for index, token in enumerate(prompt) if token == TURN]
    if len(turns) >= 2:
        content = list(prompt[turns[-2] + 1 : turns[-1]])
        return content[content.index(ord("\n")) + 1 :]
    return [token for token in prompt if token not in (BEGIN, TURN, END)]
