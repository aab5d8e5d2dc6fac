"""Watches that an engine with work gets on with it: one that hangs raises nothing and answers nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime.engines.base import Engine, ModelFacts

_UNREADY_SECONDS, _UNLIVE_SECONDS = 20.0, 60.0
_UNREADY_SECONDS_ON_CPU, _UNLIVE_SECONDS_ON_CPU = 120.0, 600.0


@dataclass(frozen=True)
class Patience:
    """Seconds without a step, with work to do, after which a runtime is not ready, and not live."""

    unready: float
    unlive: float


def patience(facts: ModelFacts, unready: float | None, unlive: float | None) -> Patience:
    """What was asked for, else what fits the device: a step on a CPU can take minutes."""
    usual = (
        (_UNREADY_SECONDS_ON_CPU, _UNLIVE_SECONDS_ON_CPU)
        if facts.on_cpu
        else (_UNREADY_SECONDS, _UNLIVE_SECONDS)
    )
    first = usual[0] if unready is None else unready
    return Patience(first, max(first, usual[1]) if unlive is None else unlive)


class Watchdog:
    """Tells from an engine's counters how long it has had work and made no step. `look` must be called
    often; time between two looks counts as stalled only if neither steps nor idleness were seen.
    """

    def __init__(
        self, engine: Engine, patience: Patience, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._patience = patience
        self._clock = clock
        self._steps = engine.steps()
        self._since = clock()
        self.stalled_seconds = 0.0
        """For how long there has been work and no step."""

    def look(self) -> None:
        """Reads the engine's counters."""
        now, steps, load = self._clock(), self._engine.steps(), self._engine.load()
        if steps != self._steps or not load.running + load.waiting:
            self._steps, self._since = steps, now
        self.stalled_seconds = now - self._since

    @property
    def unready(self) -> bool:
        """Whether new traffic is better off elsewhere."""
        return self.stalled_seconds >= self._patience.unready

    @property
    def unlive(self) -> bool:
        """Whether only a new process helps."""
        return self.stalled_seconds >= self._patience.unlive
