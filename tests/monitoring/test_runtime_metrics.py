"""What the runtime tells beside its requests: drain, phases as they last, the event loop's lag."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime import loop_lag
from runtime import metrics as runtime_metrics
from runtime.metrics import Metrics
from runtime.state import Phase, State
from stoker.kube import loop_lag as kube_loop_lag
from stoker.serving.api.objectives import TTFT_BORDERS, TTFT_SECONDS_ANNOTATION, parse_objectives
from tests.runtime.serving import serve


def _read(metrics: Metrics, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    raise AssertionError(f"no {name} with {labels}")


@asynccontextmanager
async def _runtimes(observe: Callable[[float], None]) -> AsyncIterator[None]:
    task = asyncio.create_task(loop_lag.sample(observe, every=0.01))
    yield
    task.cancel()


@pytest.mark.parametrize("sampled", [_runtimes, partial(kube_loop_lag.sampled, every=0.01)])
async def test_a_loop_that_is_held_up_is_late_by_that_much(
    sampled: Callable[[Callable[[float], None]], AbstractAsyncContextManager[None]],
) -> None:
    loop, seen = asyncio.get_running_loop(), list[float]()
    real, held_up = loop.time, 0.0
    loop.time = lambda: real() + held_up  # type: ignore[method-assign]  # a clock that jumps
    async with asyncio.timeout(600), sampled(seen.append):
        while len(seen) < 1:
            await asyncio.sleep(0)
        held_up = 5.0
        while len(seen) < 2:
            await asyncio.sleep(0)
    assert 0 <= seen[0] < 4
    assert 4.9 < seen[1] < 9


async def test_a_server_samples_its_loop() -> None:
    async with serve() as server, asyncio.timeout(30):
        while not _read(server.service.metrics, "stoker_runtime_event_loop_lag_seconds_count"):
            await asyncio.sleep(0.01)


async def test_how_far_the_end_has_come() -> None:
    def now() -> set[str]:
        read = server.service.metrics
        states = ("none", "lame_duck", "refusing")
        return {each for each in states if _read(read, "stoker_runtime_drain_state", state=each)}

    async with serve() as server:
        assert now() == {"none"}
        server.service.state.enter(Phase.DRAINING)
        assert now() == {"lame_duck"}
        server.service.refusing = True
        assert now() == {"refusing"}


def test_a_phase_that_lasts_is_measured_before_it_ends() -> None:
    clock = 100.0
    state = State(name="m", model_id="m", revision=None, clock=lambda: clock)
    metrics = Metrics()
    state.on_change(metrics.follow)
    state.enter(Phase.LOADING)
    clock += 90
    assert _read(metrics, "stoker_runtime_phase_seconds", phase="Loading") == 90


def test_each_reason_of_a_refusal_is_there_at_zero_before_it_happens() -> None:
    """Else the first one of its kind is a series that begins at 1, which rate() does not see."""
    folder = Path(runtime_metrics.__file__).parent
    used = {
        reason
        for file in folder.rglob("*.py")
        for call in re.findall(r"refused\.labels\(([^)]*)\)", file.read_text())
        for reason in re.findall(r'"(\w+)"', call)
    }
    assert {"loading", "quota"} <= used
    metrics = Metrics()
    assert {reason: _read(metrics, "stoker_runtime_refused_requests_total", reason=reason) for reason in used}


def test_the_buckets_are_vllms_and_those_that_an_objective_may_name() -> None:
    assert runtime_metrics._TTFT == TTFT_BORDERS
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed")
    tree = ast.parse((Path(found.origin).parent / "v1/metrics/buckets.py").read_text())
    theirs = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TIME_TO_FIRST_TOKEN_BUCKETS"
        if node.value is not None
    ]
    assert theirs == [TTFT_BORDERS]


def test_an_objectives_border_is_spelled_as_the_bucket_is() -> None:
    metrics = Metrics()
    for border in TTFT_BORDERS:
        objective = parse_objectives({TTFT_SECONDS_ANNOTATION: f"{border:g}"}).ttft
        assert objective is not None
        assert _read(metrics, "stoker_runtime_time_to_first_token_seconds_bucket", le=objective.le) == 0


def test_the_process_is_told_of_once_from_the_start_and_with_an_engine_that_has_its_own() -> None:
    metrics = Metrics()
    for step in (lambda: None, metrics.engine_registers):
        step()
        text = metrics.render().decode()
        assert text.count("\nprocess_start_time_seconds ") == 1
        assert text.count("# TYPE python_gc_collections_total counter") == 1
