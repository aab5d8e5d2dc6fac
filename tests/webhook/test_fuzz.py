"""Made-up objects through the whole of admission: what is promised holds for all of them.

1,000 in every run, the same each time; STOKER_FUZZ=100000 (`make fuzz`) for new ones, with a line for every
1,000 of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import structlog
from aiohttp import ClientSession, web
from hypothesis import HealthCheck, Phase, given, settings

from controller.caches import CHILDREN, View
from controller.desired import desire
from stoker.cli.validation.cluster import Surroundings
from stoker.cli.validation.documents import Document
from stoker.cli.validation.judging import Judge
from stoker.configuration import load_args_schemas
from stoker.local.control_plane import ApiServer
from stoker.serving.settings import Settings
from tests.webhook.fuzz import breaking, cases, rules, schemas
from tests.webhook.fuzz.server import DryRuns
from tests.webhook.objects import ARGS_SCHEMAS, Object, review
from webhook.catalogue import Catalogue
from webhook.metrics import Metrics
from webhook.review import Review, Rules
from webhook.server import Admission, make_runner

pytestmark = pytest.mark.apiserver

CASES = int(os.environ.get("STOKER_FUZZ", "1000"))
RUNTIMES = cases.runtimes()
SCHEMAS = load_args_schemas(ARGS_SCHEMAS)
SETTINGS = Settings()
AIMED = list(cases.aimed())


class Replica:
    """One webhook, over HTTP. `reverse`: its caches were filled in another order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, reverse: bool) -> None:
        catalogue = Catalogue()
        for obj in reversed(RUNTIMES) if reverse else RUNTIMES:
            catalogue.changed(None, obj)

        def rules_for(asked: Review) -> Rules:
            return Rules(SETTINGS, catalogue.usable_in(asked.namespace), SCHEMAS)

        self._admission = Admission(rules_for, Metrics(), deadline=60)
        self._loop = loop
        loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self._runner = make_runner(self._admission)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/validate"
        self._session = ClientSession()

    async def _post(self, document: Object) -> tuple[int, Any]:
        async with self._session.post(self._url, json=document) as reply:
            return reply.status, await reply.json()

    def ask(self, obj: Object, old: Object | None = None) -> Object:
        """The `response` of the review; never a 5xx, never a rule that failed."""
        code, reply = self._loop.run_until_complete(self._post(review(obj, old)))
        assert code == 200, reply
        response: Object = reply["response"]
        assert not any("not checked by" in each for each in response.get("warnings", [])), response
        return response

    def close(self) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.run_until_complete(self._runner.cleanup())
        self._admission.close()


class World:
    """Two replicas, an API server, the command line; and what came of the cases so far."""

    def __init__(self, server: ApiServer) -> None:
        self._loop = asyncio.new_event_loop()
        self.first, self.second = (Replica(self._loop, reverse=each) for each in (False, True))
        self.server = DryRuns(server)
        self.offline = Judge(Surroundings(RUNTIMES), SETTINGS, SCHEMAS)
        self.seen: Counter[str] = Counter()
        self.fired: Counter[rules.Rule] = Counter()
        self._begun = time.monotonic()

    def tell(self) -> None:
        """How far a long run has come."""
        asked = self.seen["allowed"] + self.seen["refused"]
        if CASES > 1000 and asked % 1000 == 0:
            rate = asked / (time.monotonic() - self._begun)
            sys.stderr.write(f"{asked} of {CASES}, {self.seen['allowed']} allowed, {rate:.0f} a second\n")

    def close(self) -> None:
        self.first.close()
        self.second.close()
        self.server.close()
        self._loop.close()


@pytest.fixture(scope="module")
def world(api_server: ApiServer) -> Iterator[World]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    made = World(api_server)
    with rules.counted() as fired:
        made.fired = fired
        yield made
    made.close()
    structlog.reset_defaults()


def test_every_value_that_some_rule_is_about(world: World) -> None:
    for obj in AIMED:
        promises_hold(world, obj)


@pytest.mark.timeout(0 if CASES > 1000 else 120)
def test_every_good_row_with_one_value_broken(world: World) -> None:
    """A tenth of them, or all in a long run."""
    for obj in islice(breaking.broken(), 0, None, 10 if CASES <= 1000 else 1):
        promises_hold(world, obj)


@pytest.mark.timeout(0 if CASES > 1000 else 120)
@given(obj=cases.objects())
@settings(
    max_examples=CASES - len(AIMED),
    derandomize=CASES <= 1000,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
def test_every_object(world: World, obj: Object) -> None:
    promises_hold(world, obj)


def promises_hold(world: World, obj: Object) -> None:
    response = world.first.ask(obj)
    allowed: bool = response["allowed"]
    for again in (world.second.ask(obj), world.first.ask(obj)):
        assert again == response, "another time or another replica, another verdict"
    world.seen["allowed" if allowed else "refused"] += 1
    world.tell()
    refusal = world.server.create(obj)
    offline = world.offline.judge([Document("fuzz", 1, obj, {})])[0].verdict
    assert offline is not None
    if not allowed:
        assert not offline.allowed, "refused by the webhook, and not by the command line"
        return
    if refusal is not None:
        # The CRD's schema or CEL says no before the webhook is asked.
        world.seen["refused by the schema alone"] += 1
        if offline.allowed:
            assert any(message in refusal["message"] for message in schemas.cel_messages(obj["kind"])), (
                refusal
            )
            world.seen["refused by CEL alone"] += 1
        return
    assert offline.allowed, ("the command line refuses what would be stored", offline.problems)
    assert world.first.ask(obj, obj)["allowed"]
    labelled = obj | {"metadata": obj["metadata"] | {"labels": {"touched": "yes"}}}
    assert world.first.ask(labelled, obj)["allowed"], "an update that changes nothing of it"
    if obj["kind"] == "InferenceService":
        what_is_allowed_can_run(world, obj)


def what_is_allowed_can_run(world: World, obj: Object) -> None:
    """The controller makes its objects of it, and the API server would store each of them."""
    stored = obj | {"metadata": obj["metadata"] | {"uid": "00000000-0000-0000-0000-000000000001"}}
    view = View(stored, {each: {} for each in CHILDREN}, [], lambda: RUNTIMES, None)
    desired = desire(view, SETTINGS, lambda pod: None, 0.0)
    assert desired.situation.problem is None, desired.situation.problem
    assert desired.new_revision is not None
    for wanted in (desired.new_revision, *(child.wanted for child in desired.keep)):
        refusal = world.server.create(wanted)
        assert refusal is None, (wanted["kind"], refusal["message"] if refusal else "")
        world.seen[f"{wanted['kind']} would be stored"] += 1


def test_the_cases_above_reached_everything(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    every = rules.rules()
    with capsys.disabled():
        told = ", ".join(f"{module}:{line} {world.fired[module, line]}" for module, line in sorted(every))
        print(f"\n{CASES} made-up objects: {dict(world.seen)}\ntimes that each rule spoke: {told}")  # noqa: T201
    asked = world.seen["allowed"] + world.seen["refused"]
    assert world.seen["allowed"] >= 0.3 * asked, world.seen
    silent = sorted(rule for rule in every if not world.fired[rule])
    assert not silent, f"rules that no input reached: {silent}"
