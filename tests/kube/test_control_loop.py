"""Workers: what each outcome does to its key, and how the loop ends. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog

from stoker.kube.client import ApiError, ConnectionFailed
from stoker.kube.control_loop import ControlLoop, Result, TerminalError
from stoker.kube.informer import OnChange
from stoker.kube.metrics import Outcome
from stoker.kube.resource import Key, Object, Resource

pytestmark = pytest.mark.looptime
A, B = Key("team", "a"), Key("team", "b")


class Script:
    """A reconciler that does as told, and remembers."""

    def __init__(self, *steps: Result | Exception | Callable[[], Awaitable[Result]]) -> None:
        self.steps = list(steps)
        self.calls: list[tuple[float, Key]] = []
        self.active: list[Key] = []

    async def reconcile(self, key: Key) -> Result:
        assert key not in self.active, "never two at once for one key"
        self.calls.append((round(now(), 3), key))
        self.active.append(key)
        try:
            step = self.steps.pop(0) if self.steps else Result()
            if isinstance(step, Exception):
                raise step
            return step if isinstance(step, Result) else await step()
        finally:
            self.active.remove(key)

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.calls]


class Counted:
    """Metrics as a list of what happened."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.seconds: list[float] = []
        self.active = 0
        self.started: list[tuple[str, int]] = []
        self.queue: dict[str, float] = {"added": 0, "retried": 0, "waited": 0, "worked": 0, "depth": 0}

    def loop_started(self, controller: str, workers: int) -> None:
        self.started.append((controller, workers))

    def reconcile_started(self, controller: str) -> None:
        self.active += 1

    def reconcile_ended(self, controller: str, outcome: Outcome, seconds: float) -> None:
        self.active -= 1
        self.outcomes.append(outcome)
        self.seconds.append(seconds)

    def queue_depth(self, controller: str, depth: int) -> None:
        self.queue["depth"] = depth

    def queue_added(self, controller: str) -> None:
        self.queue["added"] += 1

    def queue_retried(self, controller: str) -> None:
        self.queue["retried"] += 1

    def queue_waited(self, controller: str, seconds: float) -> None:
        self.queue["waited"] += 1

    def queue_worked(self, controller: str, seconds: float) -> None:
        self.queue["worked"] += 1


class Source:
    """An informer's side that a loop sees."""

    def __init__(self, *, synced: bool = True) -> None:
        self.synced = asyncio.Event()
        if synced:
            self.synced.set()
        self.handlers: list[OnChange] = []

    def on_change(self, fn: OnChange) -> None:
        self.handlers.append(fn)

    def change(self, old: Object | None, new: Object | None) -> None:
        for fn in self.handlers:
            fn(old, new)


def now() -> float:
    return asyncio.get_running_loop().time()


def pause(seconds: float) -> Callable[[], Awaitable[Result]]:
    async def step() -> Result:
        await asyncio.sleep(seconds)
        return Result()

    return step


async def run(script: Script, seconds: float = 100, **options: Any) -> Counted:
    metrics = Counted()
    loop = ControlLoop("test", script, metrics=metrics, **options)
    async with loop.running():
        loop.queue.add(A)
        await asyncio.sleep(seconds)
    return metrics


async def test_success_waits_for_the_next_change() -> None:
    script = Script()
    metrics = await run(script, workers=3)
    assert script.times == [0]
    assert metrics.started == [("test", 3)]
    assert (metrics.outcomes, metrics.active) == (["success"], 0)
    assert metrics.queue == {"added": 1, "retried": 0, "waited": 1, "worked": 1, "depth": 0}


async def test_requeue_after_looks_again_then() -> None:
    script = Script(Result(requeue_after=30), Result(requeue_after=5))
    metrics = await run(script)
    assert script.times == [0, 30, 35]
    assert metrics.outcomes == ["requeue_after", "requeue_after", "success"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApiError(500, "InternalError"), "error"),
        (ApiError(404, "NotFound"), "error"),
        (ApiError(409, "AlreadyExists"), "error"),
        (ApiError(409, "Conflict"), "requeue"),
        (ConnectionFailed("refused"), "error"),
        (TimeoutError(), "error"),
        (KeyError("spec"), "panic"),
    ],
)
async def test_what_failed_is_tried_again_ever_later(error: Exception, outcome: str) -> None:
    script = Script(*[error] * 3)
    metrics = await run(script)
    assert script.times == [0, 0.005, 0.015, 0.035]
    assert metrics.outcomes == [outcome] * 3 + ["success"]
    assert metrics.queue["retried"] == 3


async def test_success_ends_the_back_off() -> None:
    error = ConnectionFailed("refused")
    script = Script(error, error, Result(requeue_after=10), error, Result())
    await run(script)
    assert script.times == [0, 0.005, 0.015, 10.015, 10.02]


async def test_a_terminal_error_waits_for_a_change() -> None:
    script = Script(TerminalError("no such runtime"))
    metrics = await run(script)
    assert script.times == [0]
    assert metrics.outcomes == ["terminal_error"]


async def test_the_server_s_wish_for_a_pause_is_the_key_s_pause() -> None:
    script = Script(ApiError(429, "TooManyRequests", retry_after=20))
    await run(script)
    assert script.times == [0, 20]


async def test_a_reconcile_that_hangs_is_ended_and_tried_again() -> None:
    script = Script(pause(1000))
    with structlog.testing.capture_logs() as logs:
        metrics = await run(script, timeout=10)
    assert script.times == [0, 10.005]
    assert metrics.outcomes == ["error", "success"]
    assert metrics.seconds[0] == 10
    assert [entry["error"] for entry in logs] == ["no result after 10 s"]


async def test_changes_during_work_lead_to_one_more_run() -> None:
    script = Script(pause(5))
    loop = ControlLoop("test", script, workers=4)
    async with loop.running():
        loop.queue.add(A)
        await asyncio.sleep(1)
        loop.queue.add(A)
        loop.queue.add(A)
        await asyncio.sleep(10)
    assert script.times == [0, 5]


async def test_different_keys_are_worked_on_at_once() -> None:
    script = Script(pause(5), pause(5))
    loop = ControlLoop("test", script, workers=2)
    async with loop.running():
        loop.queue.add(A)
        loop.queue.add(B)
        await asyncio.sleep(1)
        assert script.active == [A, B]


async def test_keys_in_work_finish_when_the_loop_stops() -> None:
    script = Script(pause(3))
    metrics = Counted()
    loop = ControlLoop("test", script, metrics=metrics)
    async with loop.running():
        loop.queue.add(A)
        loop.queue.add(B)
        await asyncio.sleep(1)
    assert now() == 3
    assert (script.times, metrics.outcomes) == ([0], ["success"]), "what waited is dropped"


async def test_cancelling_the_program_lets_keys_finish_too() -> None:
    script = Script(pause(3))
    loop = ControlLoop("test", script)

    async def program() -> None:
        async with loop.running():
            loop.queue.add(A)
            await asyncio.Event().wait()

    task = asyncio.create_task(program())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now() == 3


async def test_grace_has_an_end_before_another_may_lead() -> None:
    script = Script(pause(1000))
    metrics = await run(script, seconds=1)
    assert now() == 5, "4 s of grace: less than the 5 s between losing a lease and another's taking it"
    assert metrics.outcomes == ["error"]
    assert metrics.active == 0


async def test_workers_wait_for_all_caches() -> None:
    script = Script()
    one, two = Source(), Source(synced=False)
    loop = ControlLoop("test", script)
    loop.watch_for(one)  # type: ignore[arg-type]
    loop.watches(two, lambda _: [])  # type: ignore[arg-type]
    async with loop.running():
        one.change(None, {"metadata": {"namespace": "team", "name": "a"}})
        await asyncio.sleep(5)
        assert script.calls == []
        two.synced.set()
        await asyncio.sleep(1)
    assert script.calls == [(5, A)]


async def test_a_loop_whose_caches_never_come_still_ends() -> None:
    loop = ControlLoop("test", Script())
    loop.watch_for(Source(synced=False))  # type: ignore[arg-type]
    async with loop.running():
        await asyncio.sleep(1)
    assert now() == 1


def owned(name: str, *, controller: bool = True, api_version: str = "serving.kserve.io/v1beta1") -> Object:
    owner = {"apiVersion": api_version, "kind": "InferenceService", "name": name, "controller": controller}
    other = {"apiVersion": "v1", "kind": "Node", "name": "n", "controller": True}
    return {"metadata": {"namespace": "team", "name": "child", "ownerReferences": [owner, other]}}


async def drain(loop: ControlLoop) -> list[Key]:
    found = [await loop.queue.get() for _ in range(len(loop.queue))]
    for key in found:
        loop.queue.done(key)
    return found


KIND = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")


@pytest.mark.parametrize("kind", ["InferenceService", KIND], ids=["by kind", "by resource"])
async def test_children_concern_their_controller(kind: str | Resource) -> None:
    source, loop = Source(), ControlLoop("test", Script())
    loop.owns(source, kind)  # type: ignore[arg-type]
    source.change(None, owned("a"))
    source.change(owned("a"), None)
    assert await drain(loop) == [A]
    source.change(owned("a"), owned("b"))
    assert await drain(loop) == [A, B], "one that moved concerns both"
    source.change(None, owned("a", controller=False))
    source.change(None, {"metadata": {"namespace": "team", "name": "orphan"}})
    assert await drain(loop) == []


async def test_an_owner_of_another_group_is_another_kind() -> None:
    source, loop = Source(), ControlLoop("test", Script())
    loop.owns(source, KIND)  # type: ignore[arg-type]
    source.change(None, owned("a", api_version="other.dev/v1"))
    source.change(None, owned("b", api_version="serving.kserve.io/v1alpha1"))
    assert await drain(loop) == [B]


async def test_log_lines_of_a_reconcile_carry_its_key() -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await run(Script(KeyError("spec")))
    assert logs[0]["event"] == "reconciling failed unexpectedly"
    assert (logs[0]["controller"], logs[0]["key"]) == ("test", "team/a")
    assert isinstance(logs[0]["exc_info"], KeyError)
