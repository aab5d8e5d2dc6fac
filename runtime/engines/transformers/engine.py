"""The transformers engine: any causal language model of the library, decoded in batches.

One thread owns the model. Between two steps it takes waiting requests in, several prompts at once as long as
they are short, and lets finished and abandoned ones go, so that a long answer delays nobody and a client that
left costs at most one step.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from runtime.background import in_thread
from runtime.engines.base import (
    Delta,
    EngineDead,
    FinishReason,
    Load,
    ModelFacts,
    ModelFiles,
    Reporter,
    Sampling,
)
from runtime.engines.transformers.loading import Loaded, load
from runtime.state import Phase
from runtime.text.tokenizer import TextStream

if TYPE_CHECKING:
    from runtime.engines.transformers.grammar import Grammars, Mask

log = structlog.get_logger()

_STOP_SECONDS = 10.0
_MAX_LOGPROBS = 20
_PROMPT_TOKENS = 1024
"""Tokens, padding included, of the prompts that are taken in between two steps: what running answers wait
for. A longer prompt is taken in alone."""
DEFAULT_MAX_NUM_SEQS = 32


class TransformersEngine:
    """Implements `runtime.engines.base.Engine`."""

    name = "huggingface"
    own_metrics = False

    def __init__(
        self,
        files: ModelFiles,
        *,
        dtype: str = "auto",
        max_model_len: int | None = None,
        max_num_seqs: int | None = None,
        trust_remote_code: bool = False,
        chat_template: str | None = None,
    ) -> None:
        """`max_num_seqs`: answers decoded at the same time; more wait."""
        self._files = files
        self._dtype = dtype
        self._max_model_len = max_model_len
        self._max_num_seqs = max_num_seqs or DEFAULT_MAX_NUM_SEQS
        self._trust_remote_code = trust_remote_code
        self._chat_template = chat_template
        self._worker: _Worker | None = None

    async def start(self, report: Reporter) -> ModelFacts:
        """Loads the weights in a thread. Raises Failure."""
        report.phase(Phase.LOADING)
        loaded = await in_thread(
            lambda: load(
                self._files,
                dtype=self._dtype,
                max_model_len=self._max_model_len,
                trust_remote_code=self._trust_remote_code,
                chat_template=self._chat_template,
            ),
            "load model",
        )
        self._worker = _Worker(loaded, self._max_num_seqs)
        self._worker.start()
        return ModelFacts(
            max_model_len=loaded.max_model_len,
            tokenizer=loaded.tokenizer,
            default_sampling=loaded.default_sampling,
            max_logprobs=_MAX_LOGPROBS,
            structured=importlib.util.find_spec("xgrammar") is not None,
            on_cpu=loaded.model.device.type == "cpu",
        )

    async def stop(self) -> None:
        """Ends the thread after its step; unfinished answers end with EngineDead."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop)

    def problem(self) -> str | None:
        """Why the model's thread ended, or None while it lives."""
        return None if self._worker is None else self._worker.problem

    def steps(self) -> int:
        """Calls of the model."""
        return 0 if self._worker is None else self._worker.steps

    def load(self) -> Load:
        """Answers in the batch and answers that wait for a row."""
        return Load(0, 0) if self._worker is None else self._worker.load()

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        """One answer. Closing the generator frees its row before the next step."""
        if self._worker is None:
            raise EngineDead("the model is not loaded")
        mask = None
        if sampling.grammar is not None:
            # In a thread of its own: a large schema takes a second, and nobody's next token waits for it.
            mask = await asyncio.to_thread(self._worker.grammars.mask, sampling.grammar)
        answer = self._worker.submit(request_id, prompt, sampling, mask)
        try:
            while True:
                item = await answer.inbox.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            self._worker.abandon(answer)


class _Answer:
    """One request as the worker sees it; `inbox` is read in the event loop."""

    def __init__(self, request_id: str, prompt: Sequence[int], sampling: Sampling, text: TextStream) -> None:
        self.request_id = request_id
        self.prompt = prompt
        self.sampling = sampling
        self.text = text
        self.abandoned = False
        self.generated = 0
        self.last_token = 0
        self.sampler: Any = None
        self.mask: Mask | None = None
        self.inbox: asyncio.Queue[Delta | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def tell(self, item: Delta | Exception) -> None:
        """Hand a delta to the event loop, from the worker's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.inbox.put_nowait, item)


class _Worker(threading.Thread):
    """The thread that owns the model."""

    def __init__(self, loaded: Loaded, rows: int) -> None:
        super().__init__(name="transformers-engine", daemon=True)
        self.problem: str | None = None
        self.steps = 0
        self._loaded = loaded
        self._rows = rows
        self._wake = threading.Condition()
        self._waiting: deque[_Answer] = deque()
        self._running: list[_Answer] = []
        self._stopping = False
        self._told = False

    @cached_property
    def grammars(self) -> Grammars:
        from runtime.engines.transformers.grammar import Grammars  # noqa: PLC0415 - loads xgrammar

        tokenizer = self._loaded.tokenizer
        return Grammars(tokenizer.inner, vocab_size=tokenizer.vocab_size, ends=self._loaded.ends)

    def submit(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling, mask: Mask | None
    ) -> _Answer:
        answer = _Answer(request_id, prompt, sampling, self._loaded.tokenizer.stream())
        answer.mask = mask
        with self._wake:
            if self._stopping or self.problem is not None:
                raise EngineDead(self.problem or "the engine is stopping")
            self._waiting.append(answer)
            self._wake.notify()
        return answer

    def abandon(self, answer: _Answer) -> None:
        with self._wake:
            answer.abandoned = True
            if answer in self._waiting:
                self._waiting.remove(answer)

    def load(self) -> Load:
        return Load(running=len(self._running), waiting=len(self._waiting))

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self.join(_STOP_SECONDS)

    def run(self) -> None:
        from runtime.engines.transformers.batch import Batch  # noqa: PLC0415 - loads torch

        batch = Batch(self._loaded.model)
        try:
            while self._next(batch):
                self._advance(batch)
        except Exception as error:
            log.exception("the model's thread failed")
            self.problem = f"{type(error).__name__}: {error}"
        with self._wake:
            self._stopping = True
            left = [*self._running, *self._waiting]
            self._running, self._waiting = [], deque()
        for answer in left:
            answer.tell(EngineDead(self.problem or "the engine was stopped"))

    def _next(self, batch: Any) -> bool:
        """Take in waiting answers; wait while there is nothing to do. False: stop."""
        with self._wake:
            while not self._stopping and not self._waiting and not self._running:
                self._wake.wait()
            if self._stopping:
                return False
            answers = self._admit((self._rows if batch.can_grow else 1) - len(self._running))
            self._running += answers
        if answers:
            self._take_in(batch, answers)
        return True

    def _admit(self, room: int) -> list[_Answer]:
        """The longest waiting answers that fit into so many rows and whose prompts are short together."""
        answers: list[_Answer] = []
        longest = 0
        while self._waiting and len(answers) < room:
            longest = max(longest, len(self._waiting[0].prompt))
            if answers and longest * (len(answers) + 1) > _PROMPT_TOKENS:
                break
            answers.append(self._waiting.popleft())
        return answers

    def _take_in(self, batch: Any, answers: list[_Answer]) -> None:
        from runtime.engines.transformers.sampling import Sampler  # noqa: PLC0415 - loads torch

        before = len(batch)
        try:
            device = self._loaded.model.device
            for answer in answers:
                answer.sampler = Sampler(
                    answer.sampling, answer.prompt, self._loaded.ends, device, answer.mask
                )
            logits = batch.join([answer.prompt for answer in answers])
        except Exception as error:
            # The trouble of these prompts is theirs alone, as long as their rows did not come to be.
            if len(batch) != before:
                raise
            self._running = self._running[:before]
            for answer in answers:
                answer.tell(error)
            return
        self.steps += 1
        if not before and batch.can_grow is False and not self._told:
            self._told = True
            log.warning("one answer at a time", why="this model's cache cannot be shared by sequences")
        for answer, row in zip(answers, logits, strict=True):
            self._grow(answer, row)
        self._drop_finished(batch)

    def _advance(self, batch: Any) -> None:
        """Let abandoned answers go, then give every other one its next token."""
        self._drop_finished(batch)
        if not self._running:
            return
        logits = batch.step([answer.last_token for answer in self._running])
        self.steps += 1
        for answer, row in zip(self._running, logits, strict=True):
            self._grow(answer, row)
        self._drop_finished(batch)

    def _drop_finished(self, batch: Any) -> None:
        rows = [row for row, answer in enumerate(self._running) if not answer.abandoned]
        if len(rows) < len(self._running):
            batch.keep(rows)
            self._running = [self._running[row] for row in rows]

    def _grow(self, answer: _Answer, logits: Any) -> None:
        """Choose and tell the answer's next token."""
        token, logprob = answer.sampler.choose(logits)
        answer.generated += 1
        answer.last_token = token
        sampling = answer.sampling
        finish = None
        if token in sampling.stop_token_ids or (token in self._loaded.ends and not sampling.ignore_eos):
            finish = FinishReason.STOP
        elif (
            answer.generated >= sampling.max_tokens
            or len(answer.prompt) + answer.generated >= self._loaded.max_model_len
        ):
            finish = FinishReason.LENGTH
        text = answer.text.push([token])
        if finish is not None:
            text += answer.text.flush()
            answer.abandoned = True  # its row is free
        answer.tell(Delta(text, [token], finish, () if logprob is None else (logprob,)))
