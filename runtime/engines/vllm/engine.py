"""The vLLM engine for text, thin around AsyncLLM: its scheduler, cache and sampling are used as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.engines.base import ModelFacts, Sampling, Sink
from runtime.engines.vllm import scoring
from runtime.engines.vllm.handover import Decode, Handover
from runtime.engines.vllm.process import VllmProcess, vllm_errors
from runtime.engines.vocabulary import require_known
from runtime.flags.settings import Settings

_MAX_LOGPROBS = 20


class VllmEngine(VllmProcess):
    """Implements `runtime.engines.base.Engine`."""

    def __init__(self, config: Any, settings: Settings) -> None:
        super().__init__(config, settings)
        self._handovers: dict[str, Handover] = {}
        self._decode: Decode = lambda tokens: ""
        self._aborting: set[asyncio.Task[None]] = set()

    async def _facts(self) -> ModelFacts:
        model = self._config.model_config
        template = self._settings.chat_template
        text = Path(template).read_text() if template else None  # noqa: ASYNC240 - a small local file, once
        tokenizer = self._tokenizer(text)
        self._decode = tokenizer.decode
        return ModelFacts(
            max_model_len=model.max_model_len,
            tokenizer=tokenizer,
            default_sampling=model.get_diff_sampling_param(),
            max_logprobs=_MAX_LOGPROBS if model.max_logprobs < 0 else min(model.max_logprobs, _MAX_LOGPROBS),
            structured=True,
            on_cpu=self._on_cpu,
        )

    def began(self, request_id: str) -> float | None:
        """`Timed.began`."""
        handover = self._handovers.get(request_id)
        return None if handover is None else handover.began

    async def push(self, request_id: str, prompt: Sequence[int], sampling: Sampling, sink: Sink) -> None:
        """One answer, handed over where vLLM makes it: no task waits for its tokens."""
        from vllm.inputs.engine import tokens_input  # noqa: PLC0415

        engine = self._engine
        require_known(prompt, self._config.model_config.get_vocab_size())
        if sampling.prompt_logprobs:
            scoring.require_memory(self._config, len(prompt))
        handover = self._handovers[request_id] = Handover(sampling, sink, self._decode)
        try:
            with vllm_errors():
                queue = await engine.add_request(request_id, tokens_input(list(prompt)), _params(sampling))
                handover.take_over(queue, engine.output_processor.request_states)
                await handover.done
        finally:
            self._handovers.pop(request_id, None)
            handover.done.cancel()  # what vLLM still says of it has no reader
            if not handover.finished:
                await self._abort(request_id)

    async def _abort(self, request_id: str) -> None:
        """In a task of its own: a second cancellation must not leave vLLM at work for nobody."""
        task = asyncio.create_task(self._engine.abort(request_id))
        self._aborting.add(task)
        task.add_done_callback(self._aborting.discard)
        await asyncio.shield(task)


def _params(sampling: Sampling) -> Any:
    from vllm.sampling_params import (  # noqa: PLC0415
        RequestOutputKind,
        SamplingParams,
        StructuredOutputsParams,
    )

    grammar = sampling.grammar
    return SamplingParams(
        max_tokens=max(1, sampling.max_tokens),
        min_tokens=sampling.min_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        seed=sampling.seed,
        stop=list(sampling.stop),
        # The OpenAI layer cuts the stop string, alike for every engine; vLLM stops (and counts it so in its
        # metrics) without holding text back. It also decides over the text of a token that ends an answer,
        # which is none of it; where there are stop strings, the handover takes that out.
        include_stop_str_in_output=bool(sampling.stop),
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        logprobs=sampling.logprobs,
        prompt_logprobs=sampling.logprobs if sampling.prompt_logprobs else None,
        logit_bias=dict(sampling.logit_bias) or None,
        structured_outputs=None if grammar is None else StructuredOutputsParams(structural_tag=grammar),
        output_kind=RequestOutputKind.DELTA,
        skip_clone=True,
    )
