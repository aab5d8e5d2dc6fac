"""What handlers work with: the loaded engine, the state, limits, and whether new work is taken."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from runtime.engines.base import Engine, ModelFacts
from runtime.flags.settings import Settings
from runtime.metrics import Metrics
from runtime.openai.answers import Meter
from runtime.openai.limits import Limits
from runtime.openai.problem import ApiProblem, engine_failed, model_not_found
from runtime.openai.tools.forms import form_of
from runtime.server import tracing
from runtime.server.admission import DRAINING, Admission, InFlight, Ticket
from runtime.server.holding import Holding
from runtime.server.keys import Keys
from runtime.server.tokenizing import Tokenizing
from runtime.state import Phase, State
from runtime.watchdog import Watchdog


class Service:
    """One served model. The lifecycle gives it the engine; handlers ask it whether they may go on."""

    def __init__(self, settings: Settings, state: State, metrics: Metrics) -> None:
        self.settings = settings
        self.state = state
        self.metrics = metrics
        self.admission = Admission(
            settings.bounds.max_concurrent_sequences, settings.bounds.max_waiting_tokens
        )
        self.in_flight = InFlight()
        self.holding = Holding(settings.bounds.hold_seconds)
        self.tracing = tracing.from_environment(settings.model_name)
        file = settings.api_keys_file
        self.keys = Keys(Path(file), settings.bounds.key_tokens_per_minute) if file else None
        self.refusing = False
        metrics.watch_drain(lambda: self.refusing)
        self.watchdog: Watchdog | None = None
        self.started = int(time.time())
        self._engine: Engine | None = None
        self._facts: ModelFacts | None = None
        self._limits: Limits | None = None
        self._meter: Meter | None = None
        self._tokenizing: Tokenizing | None = None

    def attach(self, engine: Engine, facts: ModelFacts) -> None:
        """The engine has loaded its model."""
        self._engine, self._facts = engine, facts
        bounds, parser = self.settings.bounds, self.settings.tool_call_parser
        template = facts.tokenizer.template
        self._limits = Limits(
            bounds=bounds,
            max_model_len=facts.max_model_len,
            vocab_size=facts.tokenizer.vocab_size,
            max_sequences=min(bounds.max_sequences_per_request, bounds.max_concurrent_sequences),
            max_logprobs=min(facts.max_logprobs, bounds.max_top_logprobs),
            default_sampling=facts.default_sampling,
            default_seed=self.settings.seed,
            tool_form=form_of(template) if parser == "auto" else parser,
            structured=facts.structured,
        )
        self._tokenizing = Tokenizing(facts.tokenizer, self._limits)
        if not facts.embeds:
            self._tokenizing.start()
        if engine.own_metrics:
            self.metrics.engine_registers()
        else:
            self._meter = self.metrics.measure_engine(self.settings.model_name, engine.load)
            self.metrics.one_at_a_time(facts.one_at_a_time[0] if facts.one_at_a_time else None)

    async def close(self) -> None:
        """Ends what runs beside the engine."""
        if self._tokenizing is not None:
            await self._tokenizing.close()

    @property
    def engine(self) -> Engine:
        """The engine; only while `require_open` passes or the lifecycle warms it."""
        assert self._engine is not None
        return self._engine

    @property
    def facts(self) -> ModelFacts:
        """The loaded model."""
        assert self._facts is not None
        return self._facts

    @property
    def limits(self) -> Limits:
        """What bounds requests."""
        assert self._limits is not None
        return self._limits

    @property
    def tokenizing(self) -> Tokenizing:
        """Prompts to tokens."""
        assert self._tokenizing is not None
        return self._tokenizing

    @property
    def meter(self) -> Meter | None:
        """Measures sequences where the engine does not."""
        return self._meter

    @property
    def ready(self) -> bool:
        """Whether new traffic should come here: one real inference done, not draining, engine well."""
        stalled = self.watchdog is not None and self.watchdog.unready
        return self.state.phase is Phase.READY and not self.dead and not stalled

    @property
    def dead(self) -> bool:
        """Whether the process must be replaced: it failed, or its engine ended or hangs."""
        failed = self.state.phase is Phase.FAILED or (self.watchdog is not None and self.watchdog.unlive)
        return failed or (self._engine is not None and self._engine.problem() is not None)

    def require_open(self) -> None:
        """Refuses (503) work that comes too early or too late."""
        if self.refusing:
            self.metrics.refused.labels("draining").inc()
            raise ApiProblem(503, "The server is shutting down.", code="draining", headers=DRAINING)
        if self.dead:
            self.metrics.refused.labels("failed").inc()
            raise engine_failed()
        if self.state.phase not in (Phase.READY, Phase.DRAINING):
            self.metrics.refused.labels("loading").inc()
            raise ApiProblem(
                503,
                f"The model is not loaded yet (phase {self.state.phase.value}).",
                code="model_loading",
                headers={"Retry-After": "5"},
            )

    def require_generation(self) -> None:
        """Refuses what only a model that writes text answers, and what comes too early or too late."""
        self.require_open()
        if self.facts.embeds:
            message = "This model gives embeddings; ask it at the embeddings endpoint."
            raise ApiProblem(400, message, param="model", code="model_not_supported")

    def require_room(self) -> None:
        """Refuses (429) while everything is taken."""
        try:
            self.admission.require_room()
        except ApiProblem:
            self.metrics.refused.labels("overloaded").inc()
            raise

    @contextmanager
    def enter(self, tokens: Sequence[int]) -> Iterator[Ticket]:
        """Counts sequences in while they run (`Admission.enter`). Raises ApiProblem (429)."""
        with ExitStack() as stack:
            try:
                ticket = stack.enter_context(self.admission.enter(tokens))
            except ApiProblem:
                self.metrics.refused.labels("overloaded").inc()
                raise
            yield ticket

    def require_model(self, name: str) -> None:
        """Refuses (404) another model's name."""
        if name not in self.settings.names:
            raise model_not_found(name)


SERVICE: Final = web.AppKey("service", Service)
