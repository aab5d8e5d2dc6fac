"""An engine that says what the test tells it to, a few bytes at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from runtime.engines.base import (
    Delta,
    EngineRefused,
    FinishReason,
    Load,
    ModelFacts,
    Pulled,
    Reporter,
    Sampling,
)
from runtime.state import Phase
from runtime.text.bytes_tokenizer import BytesTokenizer


class ScriptedEngine(Pulled):
    """Answers `text`, `step` bytes at a time, and records what it was asked. `hold` keeps it from its first
    token, `pause` from the next ones.
    """

    name = "scripted"
    own_metrics = False

    def __init__(
        self,
        text: str = "",
        *,
        step: int = 3,
        template: str | None = BytesTokenizer.template,
        finish: FinishReason = FinishReason.STOP,
        refuse: str | None = None,
    ) -> None:
        self.text = text
        self.asked: list[tuple[list[int], Sampling]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.pause = asyncio.Event()
        self.pause.set()
        self.running = 0
        self.done = 0
        self.vectors: list[list[float]] | None = None
        self._step = step
        self._finish = finish
        self._refuse = refuse
        self._tokenizer = BytesTokenizer()
        self._tokenizer.template = template  # type: ignore[assignment]

    async def start(self, report: Reporter) -> ModelFacts:
        report.phase(Phase.LOADING)
        await asyncio.sleep(0)  # as every engine that loads something; the phase is told through the loop
        return ModelFacts(
            max_model_len=4096,
            tokenizer=self._tokenizer,
            max_logprobs=20,
            structured=True,
            embeds=self.vectors is not None,
        )

    async def stop(self) -> None:
        pass

    def problem(self) -> str | None:
        return None

    def load(self) -> Load:
        return Load(self.running, 0)

    def steps(self) -> int:
        return self.done

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        self.running += 1
        try:
            if request_id != "warm-up":
                self.asked.append((list(prompt), sampling))
                if self._refuse is not None:
                    raise EngineRefused(self._refuse, "response_format")
                await self.hold.wait()
            stream = self._tokenizer.stream()
            data = self.text.encode()
            for at in range(0, max(1, len(data)), self._step):
                await asyncio.sleep(0)
                if at and request_id != "warm-up":
                    await self.pause.wait()
                part = data[at : at + self._step]
                text = stream.push(list(part))
                self.done += 1
                finish = self._finish if at + self._step >= len(data) else None
                yield Delta(text + (stream.flush() if finish else ""), list(part), finish)
        finally:
            self.running -= 1

    async def embed(self, request_id: str, prompts: Sequence[Sequence[int]]) -> list[Sequence[float]]:
        assert self.vectors is not None
        if request_id != "warm-up":
            self.asked += [(list(prompt), Sampling(max_tokens=1)) for prompt in prompts]
            await self.hold.wait()
        return [self.vectors[index % len(self.vectors)] for index in range(len(prompts))]
