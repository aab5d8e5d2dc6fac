"""The HTTP side: whatever comes, an answer below 500, in time."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings
from tests.webhook.objects import bad_inference_service, cluster_runtime, inference_service, review
from webhook.metrics import Metrics
from webhook.review import Judgement, Review, Rules, judge
from webhook.server import MAX_BODY, Admission, make_runner

RULES = Rules(Settings(), [parse_runtime(cluster_runtime())])
JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def serving(admission: Admission) -> AsyncIterator[str]:
    runner = make_runner(admission)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        admission.close()


def admission(**options: Any) -> Admission:
    return Admission(lambda asked: RULES, Metrics(), **options)


async def post(
    session: ClientSession, url: str, body: bytes, headers: dict[str, str] = JSON
) -> tuple[int, Any]:
    async with session.post(f"{url}/validate", data=io.BytesIO(body), headers=headers) as reply:
        return reply.status, await reply.json()


def large(name: str = "large") -> bytes:
    """A review that is judged in a thread: of small ones it is known how long they may take."""
    obj = inference_service(name)
    obj["metadata"]["annotations"] = {"example.com/note": "x" * 20_000}
    return json.dumps(review(obj)).encode()


async def test_reviews_are_answered_and_counted() -> None:
    metrics = Metrics()
    async with serving(Admission(lambda asked: RULES, metrics)) as url, ClientSession() as session:
        code, reply = await post(session, url, json.dumps(review(inference_service(), uid="1")).encode())
        assert (code, reply["response"]) == (200, {"uid": "1", "allowed": True})
        code, reply = await post(session, url, json.dumps(review(bad_inference_service(), uid="2")).encode())
        assert code == 200
        assert reply["response"]["uid"] == "2"
        assert reply["response"]["status"]["code"] == 422
        assert (await post(session, url, b"{"))[0] == 400
    text = metrics.exposition().decode()
    reviews = 'stoker_webhook_reviews_total{kind="InferenceService",operation="CREATE",verdict='
    assert reviews + '"allowed"} 1.0' in text
    assert reviews + '"refused"} 1.0' in text
    where = 'field="spec.predictor.model.resources",kind="InferenceService"'
    assert f'stoker_webhook_problems_total{{{where},reason="FieldValueInvalid"}}' in text
    assert 'stoker_webhook_malformed_total{code="400"} 1.0' in text
    assert 'stoker_webhook_review_duration_seconds_count{kind="InferenceService"} 2.0' in text


async def test_the_rules_asked_for_are_those_of_the_objects_namespace() -> None:
    asked: list[str] = []

    def rules_for(about: Review) -> Rules:
        asked.append(about.namespace)
        return RULES

    async with serving(Admission(rules_for, Metrics())) as url, ClientSession() as session:
        await post(session, url, json.dumps(review(inference_service(namespace="team-a"))).encode())
        await post(session, url, json.dumps(review(cluster_runtime())).encode())
    assert asked == ["team-a", ""]


async def test_a_runtime_that_comes_a_moment_later_still_counts() -> None:
    """As where one file holds both, and the watch tells of the runtime after the review has begun."""
    asked: list[Review] = []

    async def newer(about: Review, rules: Rules) -> Rules | None:
        assert not rules.runtimes
        asked.append(about)
        return RULES if about.name == "waits" else None

    judging = Admission(lambda about: Rules(Settings()), Metrics(), newer_rules=newer)
    async with serving(judging) as url, ClientSession() as session:
        for name, allowed in (("waits", True), ("in-vain", False)):
            _, reply = await post(session, url, json.dumps(review(inference_service(name))).encode())
            assert reply["response"]["allowed"] is allowed
        _, reply = await post(session, url, json.dumps(review(cluster_runtime())).encode())
    assert [about.name for about in asked] == ["waits", "in-vain"], "nothing else waits"


async def test_a_body_of_8_mib_is_read_and_a_larger_one_is_named() -> None:
    document = json.dumps(review(inference_service())).encode()
    async with serving(admission(deadline=10)) as url, ClientSession() as session:
        code, reply = await post(session, url, document.ljust(MAX_BODY))
        assert (code, reply["response"]["allowed"]) == (200, True)
        code, reply = await post(session, url, document.ljust(MAX_BODY + 1))
        assert (code, reply["kind"], reply["code"]) == (413, "Status", 413)


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("GET", "/validate", {}, 405),
        ("POST", "/", JSON, 404),
        ("POST", "/validate", {"Content-Type": "text/plain"}, 415),
        ("POST", "/validate", {"Content-Type": "application/yaml"}, 415),
        ("POST", "/validate", JSON | {"Content-Encoding": "gzip"}, 415),
    ],
)
async def test_a_request_that_is_no_review_gets_a_status(
    method: str, path: str, headers: dict[str, str], code: int
) -> None:
    async with serving(admission()) as url, ClientSession() as session:
        body = b"{}" if method == "POST" else None
        async with session.request(method, url + path, headers=headers, data=body) as reply:
            status = await reply.json()
    assert (reply.status, status["kind"], status["code"]) == (code, "Status", code)


async def test_a_body_that_never_ends_is_given_up() -> None:
    async with serving(admission(deadline=0.2)) as url, ClientSession() as session:

        async def trickle() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(5)
            yield b"}"

        async with session.post(f"{url}/validate", data=trickle(), headers=JSON) as reply:
            assert reply.status == 408
            assert (await reply.json())["reason"] == "Timeout"


async def test_a_rule_that_takes_too_long_lets_pass_and_holds_up_nobody() -> None:
    go_on = threading.Event()

    def slow(asked: Review, rules: Rules) -> Judgement:
        if asked.name == "slow":
            go_on.wait(20)
        return judge(asked, rules)

    judging = admission(deadline=2, judge=slow)
    async with serving(judging) as url, ClientSession() as session:
        stuck = [asyncio.create_task(post(session, url, large("slow"))) for _ in range(3)]
        await asyncio.sleep(0.1)
        code, reply = await post(session, url, json.dumps(review(bad_inference_service())).encode())
        assert (code, reply["response"]["allowed"]) == (200, False)
        assert not any(task.done() for task in stuck)
        for code, reply in await asyncio.gather(*stuck):
            assert (code, reply["response"]["allowed"]) == (200, True)
            assert "longer than 2 s" in reply["response"]["warnings"][0]
        assert judging.problems() == []
        go_on.set()


async def test_threads_that_are_stuck_for_long_make_the_process_unhealthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webhook.server._STUCK_SECONDS", 0.05)
    go_on = threading.Event()

    def slow(asked: Review, rules: Rules) -> Judgement:
        go_on.wait(20)
        return Judgement()

    judging = admission(deadline=0.1, judge=slow)
    async with serving(judging) as url, ClientSession() as session:
        assert judging.problems() == []
        await post(session, url, large())
        assert "has been judged for" in judging.problems()[0]
        go_on.set()
        while judging.problems():
            await asyncio.sleep(0.01)


async def test_while_draining_answers_end_their_connections() -> None:
    judging = admission()
    async with serving(judging) as url, ClientSession() as session:
        judging.draining = True
        body = json.dumps(review(inference_service())).encode()
        async with session.post(f"{url}/validate", data=body, headers=JSON) as reply:
            assert reply.status == 200
            assert reply.headers["Connection"] == "close"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def paths(document: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for step, value in inner:
        yield from paths(value, (*here, step))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(document, dict):
        return document | {path[0]: replaced(document[path[0]], path[1:], value)}
    return [replaced(one, path[1:], value) if n == path[0] else one for n, one in enumerate(document)]


@st.composite
def nearly_reviews(draw: st.DrawFn) -> bytes:
    """A real review in which up to three places, at any depth, hold something else."""
    obj = draw(st.sampled_from([inference_service(), bad_inference_service(), cluster_runtime()]))
    document: Any = review(obj, draw(st.sampled_from([None, obj, inference_service()])))
    for _ in range(draw(st.integers(1, 3))):
        found = list(paths(document))
        document = replaced(document, draw(st.sampled_from(found)), draw(ANYTHING))
    return json.dumps(document).encode()


BODIES = st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps(value).encode()) | nearly_reviews()
HEADERS = st.sampled_from(
    [JSON] * 6 + [{"Content-Type": "text/plain"}, {}, JSON | {"Content-Encoding": "deflate"}]
)


@pytest.fixture(scope="module")
def answering() -> Iterator[Any]:
    """A server and a client on a loop of their own; hypothesis calls a plain function many times."""
    loop = asyncio.new_event_loop()
    context = serving(admission())
    url = loop.run_until_complete(context.__aenter__())

    async def opened() -> ClientSession:
        return ClientSession()

    session = loop.run_until_complete(opened())
    yield lambda body, headers: loop.run_until_complete(post(session, url, body, headers))
    loop.run_until_complete(session.close())
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


SEEN: dict[str, int] = {}


@given(body=BODIES, headers=HEADERS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_input_leads_to_a_5xx(answering: Any, body: bytes, headers: dict[str, str]) -> None:
    code, reply = answering(body, headers)
    if code == 200:
        document = json.loads(body)
        assert reply["response"]["uid"] == document["request"]["uid"]
        assert reply["response"]["allowed"] is ("status" not in reply["response"])
        assert not any("a rule failed" in warning for warning in reply["response"].get("warnings", []))
        verdict = "allowed" if reply["response"]["allowed"] else "refused"
    else:
        assert 400 <= code < 500
        assert (reply["kind"], reply["status"], reply["code"]) == ("Status", "Failure", code)
        assert reply["message"]
        verdict = str(code)
    SEEN[verdict] = SEEN.get(verdict, 0) + 1


def test_the_inputs_above_reached_every_kind_of_answer() -> None:
    assert {"allowed", "refused", "400", "415"} <= SEEN.keys(), SEEN
