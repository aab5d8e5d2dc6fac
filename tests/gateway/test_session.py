"""The protocol against a model of Envoy: it keeps what it accepted and knows when a route led nowhere."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, EnvoyResource
from gateway.session import Request, Response, Session
from gateway.snapshot import Options, Snapshot, build
from tests.gateway.objects import inference_service, pod


def _snapshot(revisions: dict[str, int], pods: dict[str, int], edition: int = 0) -> Snapshot:
    """One InferenceService: percent and ready pods per revision. Clusters change with the edition."""
    members = [pod("a", name, f"10.0.{name[-1]}.{n}") for name, count in pods.items() for n in range(count)]
    made = build([inference_service("a", revisions)], members, Options())
    clusters = {
        name: replace(each, version=f"{each.version}-{edition}")
        for name, each in made.by_type[CLUSTER].items()
    }
    return replace(made, by_type={**made.by_type, CLUSTER: clusters})


class _Envoy:
    """What the real one does with an incremental stream, as far as it can go wrong."""

    def __init__(self) -> None:
        self.have: dict[str, dict[str, EnvoyResource]] = {
            kind: {} for kind in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
        }
        self.requests: deque[Request] = deque()
        self.wants: dict[str, set[str]] = {ENDPOINTS: set(), ROUTES: set()}
        self.unacknowledged: list[Response] = []  # clusters that wait for their endpoints
        self.warming: set[str] = set()
        self.usable: set[str] = set()  # warm once; a change of them warms beside
        self.excused: set[str] = set()  # emptied while they changed: they had to be told

    def connect(self) -> None:
        self.requests.clear()
        self.unacknowledged.clear()
        for kind in (CLUSTER, ENDPOINTS, LISTENER, ROUTES):
            names = sorted(self.wants.get(kind, ()))
            if kind in (CLUSTER, LISTENER) or names:
                known = {name: each.version for name, each in self.have[kind].items()}
                self.requests.append(Request(kind, subscribe=names, known=known))

    def take(self, response: Response, *, refuse: bool = False) -> None:
        if refuse:
            self.requests.append(Request(response.type_url, nonce=response.nonce, error="no"))
            return
        have = self.have[response.type_url]
        for each in response.changed:
            have[each.name] = each
        for name in response.removed:
            if response.type_url != ENDPOINTS:  # the real one keeps endpoints until their cluster goes
                have.pop(name, None)
        if response.type_url == CLUSTER:
            self._clusters_changed(response)
            return
        if response.type_url == ENDPOINTS:
            for each in response.changed:
                (self.excused.add if each.vacant and each.name in self.warming else self.excused.discard)(
                    each.name
                )
            answered = self.warming & ({each.name for each in response.changed} | set(response.removed))
            self.warming -= answered
            self.usable |= answered
        self.requests.append(Request(response.type_url, nonce=response.nonce))
        if response.type_url == LISTENER and not self.wants[ROUTES]:
            self._want(ROUTES, {"ingress"}, set())
        self._acknowledge_clusters()
        self.check()

    def _clusters_changed(self, response: Response) -> None:
        self.warming |= {each.name for each in response.changed}
        self.warming -= set(response.removed)
        self.usable -= set(response.removed)
        for name in response.removed:
            self.have[ENDPOINTS].pop(name, None)
        names = set(self.have[CLUSTER])
        self._want(ENDPOINTS, names - self.wants[ENDPOINTS], self.wants[ENDPOINTS] - names)
        self.unacknowledged.append(response)
        self._acknowledge_clusters()
        self.check()

    def _acknowledge_clusters(self) -> None:
        if not self.warming:
            for response in self.unacknowledged:
                self.requests.append(Request(CLUSTER, nonce=response.nonce))
            self.unacknowledged.clear()

    def _want(self, kind: str, more: set[str], fewer: set[str]) -> None:
        self.wants[kind] = (self.wants[kind] | more) - fewer
        if more or fewer:
            self.requests.append(Request(kind, subscribe=sorted(more), unsubscribe=sorted(fewer)))

    def check(self) -> None:
        """No route leads to a cluster that is not there, is still warming, or has nobody in it."""
        for table in self.have[ROUTES].values():
            for host in table.body["virtual_hosts"]:
                route = host["routes"][0].get("route", {"weighted_clusters": {"clusters": []}})
                for share in route["weighted_clusters"]["clusters"]:
                    name = share["name"]
                    assert name in self.usable, f"{name} is no cluster, or not warm"
                    vacant = self.have[ENDPOINTS][name].vacant and name not in self.excused
                    assert not vacant, f"{name} has no endpoint"


@dataclass
class _World:
    envoy: _Envoy = field(default_factory=_Envoy)
    session: Session = field(default_factory=Session)
    wire: deque[Response] = field(default_factory=deque)
    latest: Snapshot | None = None

    def connect(self) -> None:
        self.session, self.wire = Session(), deque()
        self.envoy.connect()
        if self.latest is not None:
            self.session.publish(self.latest)
        self.send()

    def publish(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self.session.publish(snapshot)
        self.send()

    def send(self) -> None:
        self.wire.extend(self.session.outgoing())

    def step(self, *, from_envoy: bool) -> bool:
        if from_envoy and self.envoy.requests:
            self.session.receive(self.envoy.requests.popleft())
            self.send()
        elif self.wire:
            self.envoy.take(self.wire.popleft())
        elif self.envoy.requests:
            return self.step(from_envoy=True)
        else:
            return False
        return True

    def settle(self) -> None:
        for _ in range(500):
            if not self.step(from_envoy=True):
                return
        raise AssertionError("the conversation never ends")


_REVISIONS = ["a-1", "a-2", "a-3"]
_SNAPSHOTS = st.builds(
    _snapshot,
    st.dictionaries(st.sampled_from(_REVISIONS), st.integers(0, 100)),
    st.dictionaries(st.sampled_from(_REVISIONS), st.integers(0, 2)),
    st.integers(0, 1),
)
_ACTIONS = st.one_of(_SNAPSHOTS, st.sampled_from(["request", "response", "settle", "reconnect"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(_ACTIONS, max_size=30))
def test_every_order_of_events_keeps_routes_whole_and_ends_with_the_latest(actions: list[Any]) -> None:
    world = _World()
    world.connect()
    for action in actions:
        if isinstance(action, Snapshot):
            world.publish(action)
        elif action == "reconnect":
            world.connect()
        elif action == "settle":
            world.settle()
        else:
            world.step(from_envoy=action == "request")
    final = _snapshot({"a-1": 100}, {"a-1": 1})
    world.publish(final)
    world.settle()
    assert world.session.settled
    for kind in (CLUSTER, LISTENER, ROUTES):
        assert world.envoy.have[kind] == dict(final.by_type[kind])
    assert world.envoy.have[ENDPOINTS] == dict(final.by_type[ENDPOINTS])


def _settled(snapshot: Snapshot) -> _World:
    world = _World()
    world.connect()
    world.publish(snapshot)
    world.settle()
    assert world.session.settled
    return world


def test_nothing_is_answered_before_there_is_a_snapshot() -> None:
    session = Session()
    session.receive(Request(CLUSTER))
    assert session.outgoing() == []
    assert not session.settled


def test_a_new_stream_with_the_same_content_gets_endpoints_only() -> None:
    world = _settled(_snapshot({"a-1": 100}, {"a-1": 1}))
    world.connect()
    sent: list[str] = []
    for _ in range(20):
        sent += [response.type_url for response in world.wire]
        if not world.step(from_envoy=True):
            break
    assert set(sent) == {ENDPOINTS}


def test_there_are_none_is_an_answer_too() -> None:
    session = Session()
    session.publish(build([], [], Options()))
    session.receive(Request(CLUSTER))
    (response,) = session.outgoing()
    assert (response.type_url, response.changed, response.removed) == (CLUSTER, (), ())
    session.receive(Request(CLUSTER, nonce=response.nonce))
    assert session.outgoing() == []


def test_the_same_snapshot_again_sends_nothing() -> None:
    snapshot = _snapshot({"a-1": 100}, {"a-1": 1})
    world = _settled(snapshot)
    world.publish(_snapshot({"a-1": 100}, {"a-1": 1}))
    assert not world.wire


def test_only_what_changed_is_sent() -> None:
    world = _settled(_snapshot({"a-1": 50, "a-2": 50}, {"a-1": 1, "a-2": 1}))
    world.publish(_snapshot({"a-1": 50, "a-2": 50}, {"a-1": 1, "a-2": 2}))
    (response,) = world.wire
    assert [each.name for each in response.changed] == ["default/a/a-2"]


def test_what_was_refused_is_not_sent_again_until_it_differs() -> None:
    world = _settled(_snapshot({"a-1": 100}, {"a-1": 1}))
    world.publish(_snapshot({"a-1": 50, "a-2": 50}, {"a-1": 1, "a-2": 1}))
    while not (world.wire and world.wire[0].type_url == ROUTES):
        assert world.step(from_envoy=True)
    refused = world.wire.popleft()
    verdict = world.session.receive(Request(ROUTES, nonce=refused.nonce, error="bad domain"))
    assert verdict is not None
    assert verdict.error == "bad domain"
    world.send()
    assert ROUTES not in {response.type_url for response in world.wire}
    assert not world.session.settled
    world.publish(_snapshot({"a-1": 100}, {"a-1": 1}))
    world.settle()
    assert world.session.settled


def test_clusters_that_refused_routes_would_replace_stay() -> None:
    world = _settled(_snapshot({"a-1": 100}, {"a-1": 1}))
    world.publish(_snapshot({"a-2": 100}, {"a-2": 1}))
    for _ in range(30):
        if world.wire and world.wire[0].type_url == ROUTES:
            world.envoy.take(world.wire.popleft(), refuse=True)
        elif not world.step(from_envoy=True):
            break
    assert "default/a/a-1" in world.envoy.have[CLUSTER]
    world.envoy.check()


def test_a_cluster_that_was_refused_delays_no_other() -> None:
    world = _World()
    world.connect()
    world.publish(_snapshot({"a-1": 100}, {"a-1": 1}))
    while world.envoy.requests:
        world.session.receive(world.envoy.requests.popleft())
    world.send()
    clusters = next(response for response in world.wire if response.type_url == CLUSTER)
    world.session.receive(Request(ROUTES, subscribe=["ingress"]))
    world.session.receive(Request(CLUSTER, nonce=clusters.nonce, error="bad cluster"))
    assert ROUTES in {response.type_url for response in world.session.outgoing()}


def test_a_stale_nonce_says_nothing_but_may_subscribe() -> None:
    session = Session()
    session.publish(_snapshot({"a-1": 100}, {"a-1": 1}))
    session.receive(Request(ENDPOINTS, subscribe=["default/a/a-1"]))
    (first,) = session.outgoing()
    assert session.receive(Request(ENDPOINTS, nonce="17", subscribe=["default/a/none"])) is None
    assert session.outgoing() == [], "one response of a type at a time"
    assert session.receive(Request(ENDPOINTS, nonce=first.nonce)) is not None
    (second,) = session.outgoing()
    assert second.removed == ("default/a/none",), (
        "asked for and not there: said at once, so that warming ends"
    )


def test_a_name_that_is_asked_for_again_is_sent_again() -> None:
    world = _settled(_snapshot({"a-1": 100}, {"a-1": 1}))
    world.session.receive(Request(ENDPOINTS, subscribe=["default/a/a-1"]))
    (response,) = world.session.outgoing()
    assert [each.name for each in response.changed] == ["default/a/a-1"]


def test_a_type_that_the_gateway_does_not_have_is_ignored() -> None:
    session = Session()
    session.publish(_snapshot({}, {}))
    assert session.receive(Request("type.googleapis.com/envoy.service.runtime.v3.Runtime")) is None
    assert session.outgoing() == []
