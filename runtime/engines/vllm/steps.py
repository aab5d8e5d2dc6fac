"""Counts the steps of vLLM's scheduler from the statistics that every step sends."""

from __future__ import annotations

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase


class StepCounter(StatLoggerBase):  # type: ignore[misc]
    """One of vLLM's statistics loggers: it is called for every step, whether the step gave a token or not."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self.steps = 0

    def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
        """A step's statistics have come."""
        if scheduler_stats is not None:
            self.steps += 1

    def log_engine_initialized(self) -> None:
        """Nothing to say."""
