"""The vLLM engine for embeddings: a request of vLLM's for each input, which its scheduler batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from runtime.engines.base import EngineDead, EngineRefused, ModelFacts, WritesNoText
from runtime.engines.pooling import require_finite
from runtime.engines.vllm.process import VllmProcess, vllm_errors
from runtime.engines.vocabulary import require_known
from runtime.failures import Failure, Reason


class VllmEmbeddingEngine(WritesNoText, VllmProcess):
    """Implements `runtime.engines.base.Engine` and `Embedder`."""

    async def _facts(self) -> ModelFacts:
        if "embed" not in await self._engine.get_supported_tasks():
            raise Failure(Reason.MODEL_UNSUPPORTED, "vLLM makes no embeddings with this model.")
        return ModelFacts(
            max_model_len=self._config.model_config.max_model_len,
            tokenizer=self._tokenizer(),
            embeds=True,
            on_cpu=self._on_cpu,
        )

    async def embed(self, request_id: str, prompts: Sequence[Sequence[int]]) -> list[Sequence[float]]:
        """One vector of length 1 for each prompt. Cancelling it aborts those that are not done."""
        for prompt in prompts:
            require_known(prompt, self._config.model_config.get_vocab_size())
        tasks = [
            asyncio.create_task(self._one(f"{request_id}-{number}", prompt))
            for number, prompt in enumerate(prompts)
        ]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _one(self, request_id: str, prompt: Sequence[int]) -> list[float]:
        from torch.nn.functional import normalize  # noqa: PLC0415 - vLLM has imported it
        from vllm.inputs.engine import tokens_input  # noqa: PLC0415
        from vllm.pooling_params import PoolingParams  # noqa: PLC0415

        with vllm_errors():
            asked = self._engine.encode(tokens_input(list(prompt)), PoolingParams(task="embed"), request_id)
            async with aclosing(asked) as outputs:
                async for output in outputs:
                    if output.error is not None:
                        raise EngineRefused(str(output.error))
                    vector: list[float] = normalize(output.outputs.data.float(), dim=-1).tolist()
                    require_finite(vector)
                    return vector
        raise EngineDead("vLLM ended the request without a vector")
