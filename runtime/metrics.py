"""Prometheus metrics: vLLM's names on every backend, and what only the server sees as `stoker_runtime_*`.

Labels come from closed sets (routes, statuses, reasons), never from a client's text.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    GC_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from runtime import __version__
from runtime.engines.base import Load, OneAtATime
from runtime.state import Phase, State

CONTENT_TYPE = CONTENT_TYPE_LATEST
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each of ours that no dashboard reads

# vLLM's own, so that one dashboard shows both backends.
_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
         20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)  # fmt: skip
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
        40.0, 80.0)  # fmt: skip
_E2E = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
        480.0, 960.0, 1920.0, 7680.0)  # fmt: skip
_HTTP = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REFUSALS = ("loading", "overloaded", "queue_timeout", "draining", "failed", "connections", "unauthorised",
             "quota")  # fmt: skip
_PROCESS = (PROCESS_COLLECTOR, GC_COLLECTOR)
_DRAIN_STATES = ("none", "lame_duck", "refusing")


class Metrics:
    """The server's own metrics, in a registry of their own; vLLM keeps its metrics in the default one."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        # From the first scrape on: a server that dies while it loads is seen by when its processes began.
        for each in _PROCESS:
            registry.register(each)
        self._engine_registers = False
        self._state: State | None = None
        self._engine: EngineMetrics | None = None
        self._refusing: Callable[[], bool] = bool
        self.requests = Counter(
            "stoker_runtime_http_requests",
            "HTTP requests by route and status; 499 where the client left before the answer's end.",
            ["route", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "stoker_runtime_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=_HTTP,
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            "stoker_runtime_time_to_first_token_seconds",
            "Time from a request's head to the first written token: parsing and queueing included.",
            buckets=_TTFT,
            registry=registry,
        )
        self.in_flight = Gauge(
            "stoker_runtime_requests_in_flight", "Requests being answered, probes aside.", registry=registry
        )
        self.disconnects = Counter(
            "stoker_runtime_client_disconnects",
            "Clients that left before the end.",
            ["route"],
            registry=registry,
        )
        self.refused = Counter(
            "stoker_runtime_refused_requests",
            "Requests refused before the engine: loading, overloaded, draining.",
            ["reason"],
            registry=registry,
        )
        for reason in _REFUSALS:
            self.refused.labels(reason)
        self._phase = Gauge(
            "stoker_runtime_phase", "1 for the phase that the runtime is in.", ["phase"], registry=registry
        )
        self._phase_seconds = Gauge(
            "stoker_runtime_phase_seconds", "Seconds spent in each phase.", ["phase"], registry=registry
        )
        self._progress = Gauge(
            "stoker_runtime_phase_progress_ratio",
            "How much of the phase is done, where it is known; else 0.",
            registry=registry,
        )
        self._drain = Gauge(
            "stoker_runtime_drain_state", "1 for how far the end has come.", ["state"], registry=registry
        )
        self.loop_lag = Histogram(
            "stoker_runtime_event_loop_lag_seconds",
            "By how much a short sleep of the event loop ended late.",
            buckets=_LAG,
            registry=registry,
        )
        self._backend = Gauge(
            "stoker_runtime_backend_info", "The engine and why it was chosen.", ["backend", "reason"],
            registry=registry,
        )  # fmt: skip
        self._one_at_a_time = Gauge(
            "stoker_runtime_one_at_a_time",
            "1 for why answers are generated one at a time, where they are (transformers).",
            ["reason"],
            registry=registry,
        )
        Gauge("stoker_runtime_build_info", "The version.", ["version"], registry=registry).labels(
            __version__
        ).set(1)

    def follow(self, state: State) -> None:
        """Shows the state's phase and backend, and at each scrape how long the phase has lasted."""
        self._state = state
        for phase in Phase:
            self._phase.labels(phase.value).set(phase is state.phase)
        if state.backend is not None:
            self._backend.labels(state.backend.name.value, state.backend.reason.value).set(1)

    def watch_drain(self, refusing: Callable[[], bool]) -> None:
        """`refusing`: whether a server that drains takes no new requests any more."""
        self._refusing = refusing

    def engine_registers(self) -> None:
        """The engine has metrics of its own in the default registry, which has the process's as well."""
        for each in _PROCESS:
            self._registry.unregister(each)
        self._engine_registers = True

    def measure_engine(self, model_name: str, load: Callable[[], Load]) -> EngineMetrics:
        """vLLM's metrics for an engine that has none."""
        self._engine = EngineMetrics(self._registry, model_name, load)
        return self._engine

    def one_at_a_time(self, reason: OneAtATime | None) -> None:
        """Why answers wait for each other, or None where they do not."""
        for each in OneAtATime:
            self._one_at_a_time.labels(each.value).set(each is reason)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        self._look()
        text = generate_latest(self._registry)
        return text + generate_latest(REGISTRY) if self._engine_registers else text

    def _look(self) -> None:
        """What changes with time alone, as it is now."""
        if self._engine is not None:
            self._engine.look()
        seconds = self._state.seconds() if self._state else {}
        for name, spent in seconds.items():
            self._phase_seconds.labels(name).set(spent)
        progress = self._state.progress if self._state else None
        self._progress.set(progress.done / progress.total if progress and progress.total else 0)
        draining = self._state is not None and self._state.phase is Phase.DRAINING
        now = "none" if not draining else "refusing" if self._refusing() else "lame_duck"
        for state in _DRAIN_STATES:
            self._drain.labels(state).set(state == now)


class EngineMetrics:
    """The metrics that vLLM has, by its names and labels, measured from outside the engine."""

    def __init__(self, registry: CollectorRegistry, model_name: str, load: Callable[[], Load]) -> None:
        self._load, self._preempted = load, 0
        self._preemptions: Counter | None = None
        labels = {"model_name": model_name, "engine": "0"}
        names = list(labels)

        def gauge(name: str, text: str, read: Callable[[], float]) -> None:
            Gauge(name, text, names, registry=registry).labels(**labels).set_function(read)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, names, buckets=buckets, registry=registry).labels(**labels)

        gauge("vllm:num_requests_running", "Sequences being generated.", lambda: load().running)
        gauge("vllm:num_requests_waiting", "Sequences waiting for a place.", lambda: load().waiting)
        if load().cache is not None:
            gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use.", lambda: load().cache or 0.0)
            self._preemptions = Counter(
                "vllm:num_preemptions",
                "Sequences that left a full KV cache, to be computed again.",
                names,
                registry=registry,
            ).labels(**labels)
        self.prompt_tokens = Counter("vllm:prompt_tokens", "Prompt tokens.", names, registry=registry).labels(
            **labels
        )
        self.generation_tokens = Counter(
            "vllm:generation_tokens", "Generated tokens.", names, registry=registry
        ).labels(**labels)
        success = Counter(
            "vllm:request_success", "Finished sequences.", [*names, "finished_reason"], registry=registry
        )
        self.success = {
            reason: success.labels(**labels, finished_reason=reason) for reason in ("stop", "length", "abort")
        }
        self.first_token = histogram("vllm:time_to_first_token_seconds", "Time to first token.", _TTFT)
        self.inter_token = histogram("vllm:inter_token_latency_seconds", "Time between tokens.", _ITL)
        self.end_to_end = histogram("vllm:e2e_request_latency_seconds", "Whole sequences.", _E2E)

    def look(self) -> None:
        """Counts what the engine counts itself."""
        preempted = self._load().preempted or 0
        if self._preemptions is not None:
            self._preemptions.inc(preempted - self._preempted)
            self._preempted = preempted

    def begin(self, prompt_tokens: int, max_tokens: int) -> SequenceTimer:
        """A sequence was handed to the engine."""
        self.prompt_tokens.inc(prompt_tokens)
        return SequenceTimer(self)


class SequenceTimer:
    """Times one sequence."""

    def __init__(self, metrics: EngineMetrics) -> None:
        self._metrics = metrics
        self._began = time.monotonic()
        self._last: float | None = None

    def tokens(self, count: int) -> None:
        """So many tokens came now."""
        now = time.monotonic()
        metrics = self._metrics
        metrics.generation_tokens.inc(count)
        if self._last is None:
            metrics.first_token.observe(now - self._began)
        elif count:
            metrics.inter_token.observe((now - self._last) / count)
        self._last = now

    def finished(self, reason: str) -> None:
        """The sequence ended."""
        self._metrics.success[reason].inc()
        self._metrics.end_to_end.observe(time.monotonic() - self._began)
