"""The work queue: against a model, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import looptime
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stoker.kube.metrics import NoMetrics
from stoker.kube.workqueue import QueueClosed, WorkQueue

KEYS = st.sampled_from("abc")


class Depths(NoMetrics):
    """Remembers what the queue says about itself."""

    def __init__(self) -> None:
        self.depth = 0
        self.added = 0

    def queue_depth(self, controller: str, depth: int) -> None:
        self.depth = depth

    def queue_added(self, controller: str) -> None:
        self.added += 1


class QueueModel(RuleBasedStateMachine):
    """What the queue must do, said as simply as can be: sets, a list and due times."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop(start=0, end=10**9, noop_cycles=0)
        self.metrics = Depths()
        self.queue: WorkQueue[str] = WorkQueue("q", self.metrics)
        self.waiting: dict[str, float] = {}  # since when
        self.again: set[str] = set()
        self.working: set[str] = set()
        self.due: dict[str, float] = {}
        self.failures: dict[str, int] = {}
        self.now = 0.0

    def teardown(self) -> None:
        self.loop.close()

    def do(self, function: Any, *arguments: Any) -> Any:
        async def call() -> Any:
            return function(*arguments)

        return self.loop.run_until_complete(call())

    def model_add(self, key: str) -> None:
        if key in self.working:
            self.again.add(key)
        else:
            self.waiting.setdefault(key, self.now)

    def model_delay(self, key: str, seconds: float) -> None:
        self.due[key] = min(self.due.get(key, float("inf")), self.now + seconds)

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.do(self.queue.add, key)
        self.model_add(key)

    @rule(key=KEYS, seconds=st.integers(0, 40))
    def add_after(self, key: str, seconds: int) -> None:
        self.do(self.queue.add_after, key, float(seconds))
        if seconds:
            self.model_delay(key, seconds)
        else:
            self.model_add(key)

    @rule(key=KEYS)
    def fail(self, key: str) -> None:
        self.do(self.queue.add_rate_limited, key)
        failures = self.failures.get(key, 0)
        self.model_delay(key, min(0.005 * 2**failures, 300))
        self.failures[key] = failures + 1

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=st.integers(1, 100))
    def wait(self, seconds: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        until = self.now + seconds
        for key, due in sorted(self.due.items(), key=lambda item: item[1]):
            if due <= until:
                self.now = self.due.pop(key)
                self.model_add(key)
        self.now = until

    @precondition(lambda self: self.waiting)
    @rule()
    def get(self) -> None:
        key = self.loop.run_until_complete(self.queue.get())
        assert self.waiting.pop(key) <= min(self.waiting.values(), default=self.now), (
            "first come, first served"
        )
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.do(self.queue.done, key)
        self.working.remove(key)
        if key in self.again:
            self.again.remove(key)
            self.waiting[key] = self.now

    @invariant()
    def as_long_as_the_model(self) -> None:
        assert len(self.queue) == len(self.waiting) == self.metrics.depth
        assert not self.working & set(self.waiting), "a key in work is never given out"
        for key in "abc":
            assert self.queue.failures(key) == self.failures.get(key, 0)


QueueModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueueModel = QueueModel.TestCase


@pytest.mark.looptime
async def test_back_off_doubles_from_5_ms_to_300_s() -> None:
    queue: WorkQueue[str] = WorkQueue()
    clock = asyncio.get_running_loop().time
    pauses = []
    for _ in range(20):
        began = clock()
        queue.add_rate_limited("key")
        queue.done(await queue.get())
        pauses.append(round(clock() - began, 4))
    assert pauses[:4] == [0.005, 0.01, 0.02, 0.04]
    assert pauses[15:] == [163.84, 300, 300, 300, 300]
    queue.forget("key")
    began = clock()
    queue.add_rate_limited("key")
    await queue.get()
    assert clock() - began == pytest.approx(0.005)


@pytest.mark.looptime
async def test_the_server_may_ask_for_a_longer_pause() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_rate_limited("key", at_least=7.0)
    await queue.get()
    assert asyncio.get_running_loop().time() == pytest.approx(7.0)


@pytest.mark.looptime
async def test_shut_down_wakes_all_workers_and_drops_what_waits() -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(1)
    queue.add_after("later", 5)
    queue.shut_down()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert [type(result) for result in results] == [QueueClosed] * 3
    queue.add("key")
    queue.add_after("key", 1)
    queue.add_rate_limited("key")
    await asyncio.sleep(10)
    assert len(queue) == 0
    with pytest.raises(QueueClosed):
        await queue.get()


@pytest.mark.looptime
async def test_two_waiting_workers_both_get_work() -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    assert sorted(await asyncio.gather(*workers)) == ["a", "b"]
    await asyncio.sleep(3)
    assert queue.unfinished_seconds() == pytest.approx(6)
    assert queue.longest_running_seconds() == pytest.approx(3)
