"""The embedding engine: encoders and decoders of the library as vectors of length 1.

One thread owns the model. It takes what waits together, shortest prompts beside each other, up to a number of
sequences and of tokens with their padding.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import machine
from runtime.background import in_thread
from runtime.engines.base import (
    EngineDead,
    Load,
    ModelFacts,
    ModelFiles,
    Reporter,
    WritesNoText,
)
from runtime.engines.pooling import Pooling, pooling_of, require_finite
from runtime.engines.vocabulary import require_known
from runtime.failures import Failure, Reason, explain
from runtime.state import Phase
from runtime.text.tokenizer import HubTokenizer

DEFAULT_MAX_NUM_SEQS = 32
_MAX_TOKENS = 16384  # of one step, padding included


@dataclass
class _Waiting:
    prompt: Sequence[int]
    future: asyncio.Future[list[float]]


class EmbeddingEngine(WritesNoText):
    """Implements `runtime.engines.base.Engine` and `Embedder`."""

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
    ) -> None:
        """`max_num_seqs`: sequences of one step; more wait."""
        self._files = files
        self._dtype = dtype
        self._max_model_len = max_model_len
        self._rows = max_num_seqs or DEFAULT_MAX_NUM_SEQS
        self._trust_remote_code = trust_remote_code
        self._model: Any = None
        self._pooling = Pooling.MEAN
        self._vocabulary = 0
        self._waiting: list[_Waiting] = []
        self._running = 0
        self._steps = 0
        self._wake = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transformers-embedding")

    async def start(self, report: Reporter) -> ModelFacts:
        """Loads the weights in a thread. Raises Failure."""
        report.phase(Phase.LOADING)
        facts = await in_thread(self._load, "load model")
        self._working = asyncio.create_task(self._work())
        return facts

    async def stop(self) -> None:
        """Ends after the step under way; what waits ends with EngineDead."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        self._end("the engine was stopped")
        self._thread.shutdown(wait=False, cancel_futures=True)

    def problem(self) -> str | None:
        """Why the model can no longer answer, or None while it can."""
        return self._problem

    def steps(self) -> int:
        """Calls of the model."""
        return self._steps

    def load(self) -> Load:
        """Sequences in the step under way and sequences that wait."""
        return Load(self._running, len(self._waiting))

    async def embed(self, request_id: str, prompts: Sequence[Sequence[int]]) -> list[Sequence[float]]:
        """One vector of length 1 for each prompt. Cancelling it takes what waits back."""
        if self._problem is not None:
            raise EngineDead(self._problem)
        for prompt in prompts:
            require_known(prompt, self._vocabulary)
        loop = asyncio.get_running_loop()
        mine = [_Waiting(prompt, loop.create_future()) for prompt in prompts]
        self._waiting += mine
        self._wake.set()
        try:
            vectors: list[Sequence[float]] = list(await asyncio.gather(*(each.future for each in mine)))
            for vector in vectors:
                require_finite(vector)
            return vectors
        finally:
            for each in mine:
                each.future.cancel()
            self._waiting = [each for each in self._waiting if not each.future.done()]

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            step = self._next()
            if not step:
                self._wake.clear()
                continue
            self._running = len(step)
            try:
                vectors = await loop.run_in_executor(self._thread, self._run, [each.prompt for each in step])
            except Exception as error:
                self._end(f"{type(error).__name__}: {error}", step)
                return
            finally:
                self._running = 0
            self._steps += 1
            for each, vector in zip(step, vectors, strict=True):
                if not each.future.done():
                    each.future.set_result(vector)

    def _next(self) -> list[_Waiting]:
        """Takes the oldest sequence and those nearest to its length."""
        if not self._waiting:
            return []
        size = len(self._waiting[0].prompt)
        nearest = sorted(range(len(self._waiting)), key=lambda n: abs(len(self._waiting[n].prompt) - size))
        chosen: list[int] = []
        longest = 0
        for n in nearest[: self._rows]:
            longest = max(longest, len(self._waiting[n].prompt))
            if chosen and longest * (len(chosen) + 1) > _MAX_TOKENS:
                break
            chosen.append(n)
        step = [self._waiting[n] for n in chosen]
        taken = set(chosen)
        self._waiting = [each for n, each in enumerate(self._waiting) if n not in taken]
        return step

    def _end(self, problem: str, step: Sequence[_Waiting] = ()) -> None:
        self._problem = self._problem or problem
        for each in [*step, *self._waiting]:
            if not each.future.done():
                each.future.set_exception(EngineDead(self._problem))
        self._waiting = []

    def _run(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """In the model's thread: one step."""
        import torch  # noqa: PLC0415 - loads for seconds

        longest = max(len(prompt) for prompt in prompts)
        padded = [[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self._model.device)
        mask = (torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)).long()
        tokens = torch.tensor(padded, device=lengths.device)
        with torch.inference_mode():
            states = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            if self._pooling is Pooling.CLS:
                pooled = states[:, 0]
            elif self._pooling is Pooling.LAST:
                pooled = states[torch.arange(len(prompts)), lengths - 1]
            else:
                pooled = (states * mask.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1)
            vectors: list[list[float]] = torch.nn.functional.normalize(pooled, dim=-1).tolist()
        return vectors

    def _load(self) -> ModelFacts:
        import torch  # noqa: PLC0415 - loads for seconds
        from transformers import AutoConfig, AutoModel, AutoTokenizer  # noqa: PLC0415
        from transformers.utils import logging  # noqa: PLC0415

        logging.disable_progress_bar()
        torch.set_num_threads(max(1, machine.processors() - 1))
        options = {"local_files_only": True, "trust_remote_code": self._trust_remote_code}
        names = {"half": "float16", "float": "float32", "auto": "float32"}
        dtype = getattr(torch, names.get(self._dtype, self._dtype))
        if torch.cuda.is_available() and self._dtype == "auto":
            dtype = "auto"
        try:
            config = AutoConfig.from_pretrained(self._files.path, **options)
            tokenizer = AutoTokenizer.from_pretrained(self._files.tokenizer, **options)
            model = AutoModel.from_pretrained(self._files.path, config=config, dtype=dtype, **options)
        except Exception as error:
            raise explain(error, doing="loading the model with transformers") from error
        self._model = (model.to("cuda") if torch.cuda.is_available() else model).eval()
        self._pooling = pooling_of(self._files.path)
        self._vocabulary = config.get_text_config().vocab_size
        length, asked = _length(config, self._files.path), self._max_model_len
        if asked is not None and asked > length:
            raise Failure(
                Reason.INVALID_ARGUMENT,
                f"--max_model_len={asked} is more than the {length} tokens that the model takes",
            )
        return ModelFacts(
            max_model_len=asked if asked is not None and asked > 0 else length,
            tokenizer=HubTokenizer(tokenizer, vocab_size=self._vocabulary),
            embeds=True,
            on_cpu=self._model.device.type == "cpu",
        )


def _length(config: Any, path: Path) -> int:
    """The longest prompt in tokens."""
    text = config.get_text_config()
    length = int(getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or 512)
    if "roberta" in config.model_type or config.model_type == "mpnet":
        length -= int(text.pad_token_id or 0) + 1  # its positions begin behind the padding's
    file = path / "sentence_bert_config.json"
    said = json.loads(file.read_text()).get("max_seq_length") if file.is_file() else None
    return min(length, said) if isinstance(said, int) and said > 0 else length
