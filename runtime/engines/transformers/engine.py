"""The transformers engine: any causal language model of the library, answers decoded together.

One thread owns the model (`worker`). Each step gives every running answer a token and takes in a part of the
waiting prompts, so that a long answer or a long prompt delays nobody for long and a client that left costs at
most one step. This side of it lives in the event loop.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import AsyncGenerator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from runtime.background import in_thread
from runtime.engines.base import (
    Delta,
    EngineDead,
    EngineRefused,
    FinishReason,
    Load,
    ModelFacts,
    ModelFiles,
    Pulled,
    Reporter,
    Sampling,
)
from runtime.engines.transformers.loading import Loaded, load
from runtime.engines.vocabulary import require_known
from runtime.state import Phase

if TYPE_CHECKING:
    from runtime.engines.transformers.answer import Answer
    from runtime.engines.transformers.grammar.compiler import Compiler
    from runtime.engines.transformers.worker import Worker

_MAX_LOGPROBS = 20
_WORKER = "runtime.engines.transformers.worker"
DEFAULT_MAX_NUM_SEQS = 32


class TransformersEngine(Pulled):
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
        kv_cache_memory_bytes: int | None = None,
        trust_remote_code: bool = False,
        chat_template: str | None = None,
        grammar_seconds: int = 10,
    ) -> None:
        """`max_num_seqs`: answers decoded at the same time; more wait. `kv_cache_memory_bytes`: for keys and
        values; None: as much as the machine or the container allows. `grammar_seconds`: of a processor.
        """
        self._files = files
        self._dtype = dtype
        self._max_model_len = max_model_len
        self._max_num_seqs = max_num_seqs or DEFAULT_MAX_NUM_SEQS
        self._kv_cache_memory_bytes = kv_cache_memory_bytes
        self._trust_remote_code = trust_remote_code
        self._chat_template = chat_template
        self._grammar_seconds = grammar_seconds
        self._loaded: Loaded | None = None
        self._worker: Worker | None = None
        self._answers: dict[str, Answer] = {}

    async def start(self, report: Reporter) -> ModelFacts:
        """Loads the weights in a thread. Raises Failure."""
        await in_thread(lambda: importlib.import_module(_WORKER), "import transformers")
        report.phase(Phase.LOADING)
        loaded = await in_thread(
            lambda: load(
                self._files,
                dtype=self._dtype,
                max_model_len=self._max_model_len,
                kv_cache_memory_bytes=self._kv_cache_memory_bytes,
                trust_remote_code=self._trust_remote_code,
                chat_template=self._chat_template,
                report=report.progress,
            ),
            "load model",
        )
        from runtime.engines.transformers.worker import Worker  # noqa: PLC0415 - loads torch

        self._loaded, why = loaded, loaded.batching.why
        self._worker = Worker(loaded, self._max_num_seqs)
        self._worker.start()
        return ModelFacts(
            max_model_len=loaded.max_model_len,
            tokenizer=loaded.tokenizer,
            default_sampling=loaded.default_sampling,
            max_logprobs=_MAX_LOGPROBS,
            structured=importlib.util.find_spec("xgrammar") is not None,
            on_cpu=loaded.model.device.type == "cpu",
            one_at_a_time=(why.reason, why.message) if why else None,
        )

    async def stop(self) -> None:
        """Ends the thread after its step; unfinished answers end with EngineDead."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop)
        if "_grammars" in self.__dict__:
            await self._grammars.stop()

    def problem(self) -> str | None:
        """Why the model's thread ended, or None while it lives."""
        return None if self._worker is None else self._worker.problem

    def steps(self) -> int:
        """Calls of the model."""
        return 0 if self._worker is None else self._worker.steps

    def load(self) -> Load:
        """Answers in the batch and answers that wait for a row."""
        return Load(0, 0, 0.0, 0) if self._worker is None else self._worker.load()

    def began(self, request_id: str) -> float | None:
        """`Timed.began`."""
        answer = self._answers.get(request_id)
        return None if answer is None else answer.began

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        """One answer. Closing the generator frees its row before the next step."""
        if self._worker is None or self._loaded is None:
            raise EngineDead("the model is not loaded")
        require_known(prompt, self._loaded.tokenizer.vocab_size)
        answer = await self._answer(prompt, sampling)
        text = self._loaded.tokenizer.stream()
        self._answers[request_id] = answer
        self._worker.submit(answer)
        try:
            while True:
                item = await answer.inbox.get()
                if isinstance(item, Exception):
                    raise item
                # Tokens become text here, while the model's thread is in its next step.
                ids = [] if item.id is None else [item.id]
                ends = item.finish_reason is FinishReason.STOP  # by this token, which is none of the text
                new = text.push(ids) if ids and not ends else ""
                if item.finish_reason is not None:
                    new += text.flush()
                logprobs = (item.logprob,) if item.logprob else ()
                if answer.scores:
                    logprobs, answer.scores = (*answer.scores, *logprobs), []
                yield Delta(new, ids, item.finish_reason, logprobs)
                if item.finish_reason is not None:
                    return
        finally:
            self._answers.pop(request_id, None)
            self._worker.abandon(answer)

    async def _answer(self, prompt: Sequence[int], sampling: Sampling) -> Answer:
        from runtime.engines.transformers.answer import Answer  # noqa: PLC0415 - loads torch
        from runtime.engines.transformers.sampling import Sampler  # noqa: PLC0415

        assert self._loaded is not None
        if sampling.prompt_logprobs and not self._loaded.batching.in_parts:
            self._require_memory(len(prompt))
        mask = None
        if sampling.grammar is not None:
            mask = await self._grammars.mask(sampling.grammar, sampling.grammar_param)
        return Answer(prompt, sampling, Sampler(sampling, prompt, self._loaded.ends, mask))

    def _require_memory(self, tokens: int) -> None:
        """For the logits of a prompt that is read whole."""
        from runtime.engines.transformers.scoring import most_at_once  # noqa: PLC0415 - loads torch

        assert self._loaded is not None
        most = most_at_once(self._loaded.tokenizer.vocab_size)
        if tokens > most:
            raise EngineRefused(
                f"`logprobs` with `echo`: this model reads a prompt whole, and its logits fit for {most} "
                f"tokens; the prompt has {tokens}.",
                "logprobs",
            )

    @cached_property
    def _grammars(self) -> Compiler:
        from runtime.engines.transformers.grammar.compiler import Compiler  # noqa: PLC0415 - loads xgrammar

        assert self._loaded is not None
        tokenizer = self._loaded.tokenizer
        return Compiler(
            tokenizer.inner,
            vocab_size=tokenizer.vocab_size,
            ends=self._loaded.ends,
            cpu_seconds=self._grammar_seconds,
        )
