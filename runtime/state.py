"""The state document: what phase the runtime is in, since when, on which backend, and why it failed.

It is served at GET /stoker/v1/state and is how a pod tells the controller about itself; its schema is
manifests/state.schema.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from runtime import __version__
from runtime.failures import Failure, Reason


class Phase(StrEnum):
    """Where a runtime is between its start and its end, in this order."""

    STARTING = "Starting"
    FETCHING = "Fetching"
    IMPORTING = "Importing"
    LOADING = "Loading"
    COMPILING = "Compiling"
    WARMING = "Warming"
    READY = "Ready"
    DRAINING = "Draining"
    FAILED = "Failed"


class BackendName(StrEnum):
    """Which engine answers."""

    VLLM = "vllm"
    HUGGINGFACE = "huggingface"
    ECHO = "echo"


class BackendReason(StrEnum):
    """Why that engine was chosen."""

    REQUESTED = "Requested"
    DEFAULT = "Default"
    VLLM_NOT_INSTALLED = "VllmNotInstalled"
    ARCHITECTURE_UNSUPPORTED = "ArchitectureUnsupported"
    PLATFORM_UNSUPPORTED = "PlatformUnsupported"
    TASK_UNSUPPORTED = "TaskUnsupported"


@dataclass(frozen=True)
class Backend:
    """The chosen engine, the reason as a code, and a sentence for people."""

    name: BackendName
    reason: BackendReason
    message: str


@dataclass(frozen=True)
class Progress:
    """How far the current phase is; `unit` is "bytes" or "weights"."""

    done: int
    total: int
    unit: str


_TIMED = frozenset(Phase) - {Phase.READY, Phase.DRAINING, Phase.FAILED}


class State:
    """The one mutable record of the runtime's life. Only the event loop's thread changes phase or backend;
    progress may be reported from any thread.
    """

    def __init__(
        self, *, name: str, model_id: str, revision: str | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._entered = clock()
        self._seconds: dict[Phase, float] = {}
        self._listeners: list[Callable[[State], None]] = []
        self._model = {"name": name, "id": model_id, "revision": revision}
        self.phase = Phase.STARTING
        self.progress: Progress | None = None
        self.backend: Backend | None = None
        self.error: Failure | None = None

    def on_change(self, listener: Callable[[State], None]) -> None:
        """Calls the listener now and after every change of phase or backend."""
        self._listeners.append(listener)
        listener(self)

    def enter(self, phase: Phase) -> None:
        """Ends the current phase and starts another. A failed runtime stays failed."""
        if self.phase in (phase, Phase.FAILED):
            return
        now = self._clock()
        if self.phase in _TIMED:
            self._seconds[self.phase] = self._seconds.get(self.phase, 0.0) + now - self._entered
        self.phase, self._entered, self.progress = phase, now, None
        self._changed()

    def choose(self, backend: Backend) -> None:
        """Records which engine will answer and why."""
        self.backend = backend
        self._changed()

    def add_to_backend(self, note: str) -> None:
        """What the engine turned out to be like, for people."""
        if self.backend is not None:
            self.choose(replace(self.backend, message=f"{self.backend.message}; {note}"))

    def resolve_revision(self, revision: str) -> None:
        """Records the commit that the model's revision turned out to be."""
        self._model["revision"] = revision

    def fail(self, failure: Failure) -> None:
        """Ends in Failed; the first failure is kept, later ones are its consequences."""
        if self.error is None:
            self.error = failure
            self.enter(Phase.FAILED)

    def seconds(self) -> dict[str, float]:
        """Seconds spent in each phase up to Ready, the current one included."""
        spent = dict(self._seconds)
        if self.phase in _TIMED:
            spent[self.phase] = spent.get(self.phase, 0.0) + self._clock() - self._entered
        return {phase.value: round(spent[phase], 3) for phase in Phase if phase in spent}

    def document(self) -> dict[str, Any]:
        """The state as JSON-able data."""
        progress, backend, error = self.progress, self.backend, self.error
        return {
            "phase": self.phase.value,
            "phases": self.seconds(),
            "progress": None
            if progress is None
            else {"done": progress.done, "total": progress.total, "unit": progress.unit},
            "backend": None
            if backend is None
            else {"name": backend.name.value, "reason": backend.reason.value, "message": backend.message},
            "model": dict(self._model),
            "error": None if error is None else {"reason": error.reason.value, "message": error.message},
            "version": __version__,
        }

    def _changed(self) -> None:
        for listener in self._listeners:
            listener(self)


def schema() -> dict[str, Any]:
    """The JSON Schema of the state document."""

    def one_of(kind: type[StrEnum]) -> dict[str, Any]:
        return {"type": "string", "enum": [each.value for each in kind]}

    def record(required: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
        return {
            "type": ["object", "null"] if nullable else "object",
            "required": sorted(required),
            "properties": required,
        }

    text = {"type": "string"}
    count = {"type": "integer", "minimum": 0}
    top = record(
        {
            "phase": one_of(Phase),
            "phases": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
            "progress": record(
                {"done": count, "total": count, "unit": {"type": "string", "enum": ["bytes", "weights"]}},
                nullable=True,
            ),
            "backend": record(
                {"name": one_of(BackendName), "reason": one_of(BackendReason), "message": text}, nullable=True
            ),
            "model": record(
                {"name": text, "id": text, "revision": {"type": ["string", "null"]}}, nullable=False
            ),
            "error": record({"reason": one_of(Reason), "message": text}, nullable=True),
            "version": text,
        },
        nullable=False,
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "State of a Stoker runtime",
        "description": "Answer of GET /stoker/v1/state and, when a runtime fails, its termination message.",
        **top,
    }
