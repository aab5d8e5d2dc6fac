"""vLLM's processes, whatever they are asked for: their start, their end and what they say in between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runtime.background import in_thread
from runtime.engines.base import (
    EngineBusy,
    EngineDead,
    EngineRefused,
    Load,
    ModelFacts,
    Reporter,
)
from runtime.engines.vllm.failures import explain_start
from runtime.engines.vllm.output import OutputTail
from runtime.flags.settings import Settings
from runtime.state import Phase, Progress
from runtime.text.tokenizer import HubTokenizer

if TYPE_CHECKING:
    from runtime.engines.vllm.steps import StepCounter

_STOP_SECONDS = 5.0


class VllmProcess(ABC):
    """All of `runtime.engines.base.Engine` but the work itself, and the facts of the model."""

    name = "vllm"
    own_metrics = True

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._engine: Any = None
        self._output = OutputTail()
        self._problem: str | None = None
        self._steps: list[StepCounter] = []

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
        return await self._facts()

    @abstractmethod
    async def _facts(self) -> ModelFacts:
        """What the OpenAI layer must know, once vLLM is up."""

    def _tokenizer(self, chat_template: str | None = None) -> HubTokenizer:
        """vLLM's own copy of the model's tokenizer."""
        return HubTokenizer(
            self._engine.get_tokenizer(),
            vocab_size=self._config.model_config.get_vocab_size(),
            chat_template=chat_template,
        )

    @property
    def _on_cpu(self) -> bool:
        return str(self._config.device_config.device_type) == "cpu"

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


@contextmanager
def vllm_errors() -> Iterator[None]:
    """Turns what vLLM raises for a request into EngineDead, EngineBusy or EngineRefused."""
    from vllm.exceptions import GracefulHTTPError, VLLMClientError  # noqa: PLC0415
    from vllm.v1.engine.exceptions import EngineDeadError  # noqa: PLC0415

    try:
        yield
    except EngineDeadError as error:
        raise EngineDead("vLLM's engine process ended") from error
    except GracefulHTTPError as error:
        raise EngineBusy(str(error)) from error
    except VLLMClientError as error:
        raise EngineRefused(str(error)) from error
