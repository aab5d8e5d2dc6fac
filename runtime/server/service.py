"""What handlers work with: the loaded engine, the state, limits, and whether new work is taken."""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web

from runtime.engines.base import Engine, ModelFacts
from runtime.flags.settings import Settings
from runtime.metrics import Metrics
from runtime.openai.answers import Meter
from runtime.openai.limits import Limits
from runtime.openai.problem import ApiProblem, engine_failed, model_not_found
from runtime.openai.tools.forms import form_of
from runtime.server.admission import DRAINING, Admission, InFlight
from runtime.state import Phase, State


class Service:
    """One served model. The lifecycle gives it the engine; handlers ask it whether they may go on."""

    def __init__(self, settings: Settings, state: State, metrics: Metrics) -> None:
        self.settings = settings
        self.state = state
        self.metrics = metrics
        self.admission = Admission(settings.bounds.max_concurrent_sequences)
        self.in_flight = InFlight()
        self.refusing = False
        self.started = int(time.time())
        self._engine: Engine | None = None
        self._facts: ModelFacts | None = None
        self._limits: Limits | None = None
        self._meter: Meter | None = None

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
        if engine.own_metrics:
            self.metrics.engine_registers()
        else:
            self._meter = self.metrics.measure_engine(self.settings.model_name, engine.load)

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
    def meter(self) -> Meter | None:
        """Measures sequences where the engine does not."""
        return self._meter

    @property
    def ready(self) -> bool:
        """Whether new traffic should come here: one real inference done, not draining, engine well."""
        return self.state.phase is Phase.READY and not self.dead

    @property
    def dead(self) -> bool:
        """Whether the process must be replaced."""
        failed = self.state.phase is Phase.FAILED
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

    def require_room(self) -> None:
        """Refuses (429) while everything is taken."""
        try:
            self.admission.require_room()
        except ApiProblem:
            self.metrics.refused.labels("overloaded").inc()
            raise

    def require_model(self, name: str) -> None:
        """Refuses (404) another model's name."""
        if name not in self.settings.names:
            raise model_not_found(name)


SERVICE: Final = web.AppKey("service", Service)
