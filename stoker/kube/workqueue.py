"""Keys that need work. However often a key is added, it is in work at most once and never forgotten."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from stoker.kube.metrics import LoopMetrics, NoMetrics

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_SECONDS = 0.005
LONGEST_RETRY_SECONDS = 300.0


class QueueClosed(Exception):
    """The queue was shut down: workers may go home."""


class WorkQueue(Generic[K]):
    """A set of keys waiting for workers, in the order they came.

    A key is waiting, in work, both (added again while in work: it waits until `done`), or neither.
    Time is the event loop's, so every method but the constructor needs a running loop.
    """

    def __init__(self, name: str = "", metrics: LoopMetrics | None = None) -> None:
        self._name = name
        self._metrics = metrics or NoMetrics()
        self._ready: deque[K] = deque()
        self._dirty: dict[K, float] = {}  # needs work -> since when
        self._working: dict[K, float] = {}  # in work -> since when
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wakeup = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Keys a worker could take now."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """The key needs work. Nothing happens where it waits already, or after `shut_down`."""
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = _now()
        self._metrics.queue_added(self._name)
        if key not in self._working:  # else done() puts it back
            self._make_ready(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add the key later. Of several delays for one key the one that ends first counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = _now() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_at(due, self._end_delay, key)

    def add_rate_limited(self, key: K, at_least: float = 0.0) -> None:
        """Add the key after its back-off: 5 ms, doubled by each failure in a row, at most 300 s."""
        if self._closed:
            return
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._metrics.queue_retried(self._name)
        backoff = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures, 64), LONGEST_RETRY_SECONDS)
        self.add_after(key, max(backoff, at_least))

    def forget(self, key: K) -> None:
        """The key's work succeeded (or cannot): its next failure starts the back-off anew."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often the key failed since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, now in work: call `done` with it, whatever happens. Raises QueueClosed."""
        while not self._closed:
            if self._ready:
                return self._take()
            self._wakeup.clear()
            await self._wakeup.wait()
        raise QueueClosed

    def done(self, key: K) -> None:
        """The work that `get` began is over."""
        now = _now()
        self._metrics.queue_worked(self._name, now - self._working.pop(key))
        if key in self._dirty and not self._closed:
            self._make_ready(key)

    def shut_down(self) -> None:
        """Take nothing in and give nothing out any more. What waits is dropped: the next start lists anew."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._dirty.clear()
        self._metrics.queue_depth(self._name, 0)
        self._wakeup.set()

    def unfinished_seconds(self) -> float:
        """Time spent so far on all keys in work, added up: growing means stuck workers."""
        now = _now()
        return sum(now - since for since in self._working.values())

    def longest_running_seconds(self) -> float:
        """Time spent so far on the key that has been in work longest; 0 where none is."""
        now = _now()
        return max((now - since for since in self._working.values()), default=0.0)

    def _end_delay(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _make_ready(self, key: K) -> None:
        self._ready.append(key)
        self._metrics.queue_depth(self._name, len(self._ready))
        self._wakeup.set()

    def _take(self) -> K:
        key = self._ready.popleft()
        now = _now()
        self._metrics.queue_waited(self._name, now - self._dirty.pop(key))
        self._metrics.queue_depth(self._name, len(self._ready))
        self._working[key] = now
        return key


def _now() -> float:
    return asyncio.get_running_loop().time()
