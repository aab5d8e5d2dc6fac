"""The vLLM engine: thin around AsyncLLM, whose scheduler, cache and sampling are used as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from runtime import machine
from runtime.background import in_thread
from runtime.engines.base import (
    EngineBusy,
    EngineDead,
    EngineRefused,
    Load,
    ModelFacts,
    ModelFiles,
    Reporter,
    Sampling,
    Sink,
)
from runtime.engines.vllm import defaults
from runtime.engines.vllm.config import make_config
from runtime.engines.vllm.failures import explain_start
from runtime.engines.vllm.handover import Handover
from runtime.engines.vllm.output import OutputTail
from runtime.flags.settings import Settings
from runtime.state import Phase, Progress
from runtime.text.tokenizer import HubTokenizer

if TYPE_CHECKING:
    from runtime.engines.vllm.steps import StepCounter

_STOP_SECONDS = 5.0
_MAX_LOGPROBS = 20

log = structlog.get_logger()


def make_engine(settings: Settings, files: ModelFiles) -> VllmEngine:
    """Imports vLLM and checks everything that can be checked before weights are loaded. Blocks for seconds.

    Raises Unsupported where another backend could serve, Failure where none could.
    """
    defaults.prepare_environment(machine.processors())
    return VllmEngine(make_config(settings, files), settings)


class VllmEngine:
    """Implements `runtime.engines.base.Engine`."""

    name = "vllm"
    own_metrics = True

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._engine: Any = None
        self._output = OutputTail()
        self._problem: str | None = None
        self._steps: list[StepCounter] = []
        self._handovers: dict[str, Handover] = {}

    async def start(self, report: Reporter) -> ModelFacts:
        """Starts vLLM's processes, which load the weights. Raises Failure."""
        report.phase(Phase.LOADING)
        self._output = OutputTail(lambda done, total: report.progress(Progress(done, total, "weights")))
        try:
            # vLLM blocks until its engine is up; in a thread, so that probes are answered meanwhile.
            self._engine = await in_thread(self._launch, "start vllm")
        except Exception as error:
            raise explain_start(error, self._output.cause(), self._config) from error
        self._output.forget()
        model = self._config.model_config
        template = self._settings.chat_template
        text = Path(template).read_text() if template else None  # noqa: ASYNC240 - a small local file, once
        return ModelFacts(
            max_model_len=model.max_model_len,
            tokenizer=HubTokenizer(
                self._engine.get_tokenizer(),
                vocab_size=model.get_vocab_size(),
                chat_template=text,
            ),
            default_sampling=model.get_diff_sampling_param(),
            max_logprobs=_MAX_LOGPROBS if model.max_logprobs < 0 else min(model.max_logprobs, _MAX_LOGPROBS),
            structured=True,
            on_cpu=str(self._config.device_config.device_type) == "cpu",
        )

    def _launch(self) -> Any:
        from vllm.envs import enable_envs_cache  # noqa: PLC0415 - vLLM is imported by make_engine
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

        from runtime.engines.vllm.steps import StepCounter  # noqa: PLC0415

        def counter(config: Any, engine_index: int = 0) -> StepCounter:
            self._steps.append(StepCounter(config, engine_index))
            return self._steps[-1]

        with self._output:
            made = AsyncLLM.from_vllm_config(self._config, stat_loggers=[counter])
        # vLLM asks for a variable at every token; its engine's process remembers them, this one is told to.
        enable_envs_cache()
        return made

    async def stop(self) -> None:
        """Ends vLLM's processes."""
        if self._engine is not None:
            self._problem = self._problem or "it was stopped"
            if self._engine.output_handler is not None:
                self._engine.output_handler.cancel()  # else it reports the orderly end as a failure
            await in_thread(lambda: self._engine.shutdown(timeout=_STOP_SECONDS), "stop vllm")

    def problem(self) -> str | None:
        """Why vLLM's engine ended, with the cause that its process printed; None while it runs."""
        if self._problem is None and self._engine is not None and self._engine.errored:
            self._problem = self._output.cause() or "vLLM's engine process ended"
        return self._problem

    def steps(self) -> int:
        """Steps of vLLM's scheduler; a chunk of a prompt is one."""
        return sum(counter.steps for counter in self._steps)

    def load(self) -> Load:
        """Unfinished answers; which of them wait is in vLLM's own metrics."""
        return Load(0 if self._engine is None else self._engine.get_num_unfinished_requests(), 0)

    def began(self, request_id: str) -> float | None:
        """`Timed.began`."""
        handover = self._handovers.get(request_id)
        return None if handover is None else handover.began

    async def push(self, request_id: str, prompt: Sequence[int], sampling: Sampling, sink: Sink) -> None:
        """One answer, handed over where vLLM makes it: no task waits for its tokens."""
        from vllm.exceptions import GracefulHTTPError, VLLMClientError  # noqa: PLC0415
        from vllm.inputs.engine import tokens_input  # noqa: PLC0415
        from vllm.v1.engine.exceptions import EngineDeadError  # noqa: PLC0415

        engine = self._engine
        handover = self._handovers[request_id] = Handover(sampling, sink)
        try:
            queue = await engine.add_request(request_id, tokens_input(list(prompt)), _params(sampling))
            handover.take_over(queue, engine.output_processor.request_states)
            await handover.done
        except EngineDeadError as error:
            raise EngineDead("vLLM's engine process ended") from error
        except GracefulHTTPError as error:
            raise EngineBusy(str(error)) from error
        except VLLMClientError as error:
            raise EngineRefused(str(error)) from error
        finally:
            self._handovers.pop(request_id, None)
            handover.done.cancel()  # what vLLM still says of it has no reader
            if not handover.finished:
                await engine.abort(request_id)


def _params(sampling: Sampling) -> Any:
    from vllm.sampling_params import (  # noqa: PLC0415
        RequestOutputKind,
        SamplingParams,
        StructuredOutputsParams,
    )

    grammar = sampling.grammar
    return SamplingParams(
        max_tokens=sampling.max_tokens,
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
        # metrics) without holding text back.
        include_stop_str_in_output=True,
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        logprobs=sampling.logprobs,
        logit_bias=dict(sampling.logit_bias) or None,
        structured_outputs=None if grammar is None else StructuredOutputsParams(structural_tag=grammar),
        output_kind=RequestOutputKind.DELTA,
        skip_clone=True,
    )
