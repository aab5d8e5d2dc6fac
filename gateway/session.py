"""One Envoy's conversation: the incremental variant of xDS (delta ADS), without input or output.

Requests go in, responses come out; `gateway.xds` carries them. What is kept per resource type is what the
Envoy subscribed to, what it was told last, and what it accepted. At most one response per type is under way.

Order is make-before-break, as the protocol's documentation asks for: clusters, their endpoints, the listener,
and routes only once every cluster they may name is usable; what routes could still refer to is taken away
only after the Envoy has accepted the new routes. A cluster is usable when its endpoints are accepted.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, EnvoyResource
from gateway.snapshot import Snapshot

_WILDCARD = "*"
_MISSING = ""  # told that there is no such resource
_UNSURE = "?"  # told something that is to be told again


@dataclass(frozen=True)
class Request:
    """What matters of a DeltaDiscoveryRequest."""

    type_url: str
    subscribe: Sequence[str] = ()
    unsubscribe: Sequence[str] = ()
    known: Mapping[str, str] = field(default_factory=dict)  # initial_resource_versions
    nonce: str = ""
    error: str | None = None  # the words of a NACK


@dataclass(frozen=True)
class Response:
    """What becomes a DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    version: str
    changed: tuple[EnvoyResource, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """How the Envoy took a response."""

    response: Response
    error: str | None


@dataclass
class _Subscription:
    asked: bool = False
    wildcard: bool = False
    answered: bool = False
    names: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)  # name -> version, or _MISSING
    accepted: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    peopled: set[str] = field(default_factory=set)  # sent on this stream, and not vacant
    awaited: set[str] = field(default_factory=set)  # the Envoy goes on with nothing until it is told
    under_way: Response | None = None

    def forget(self, name: str) -> None:
        for record in (self.sent, self.accepted, self.refused):
            record.pop(name, None)
        self.peopled.discard(name)
        self.awaited.discard(name)

    def send_again(self, name: str) -> None:
        """The Envoy had it and may have lost it."""
        if self.sent.get(name):
            self.sent[name] = _UNSURE
        self.peopled.discard(name)


class Session:
    """The state of one stream."""

    def __init__(self) -> None:
        self._of = {type_url: _Subscription() for type_url in TYPES}
        self._snapshot: Snapshot | None = None
        self._nonces = 0
        self._resumed = False  # the Envoy had a stream before, and what it was sent there

    def publish(self, snapshot: Snapshot) -> None:
        """From now on this is what the Envoy should have."""
        self._snapshot = snapshot

    @property
    def settled(self) -> bool:
        """Whether the Envoy has all of the latest snapshot that it asked for, and nothing else."""
        snapshot = self._snapshot
        if snapshot is None:
            return False
        return all(self._settled(kind) and not self._removed(snapshot, kind) for kind in TYPES)

    def receive(self, request: Request) -> Verdict | None:
        """Take a request in; the verdict where it answers the response under way."""
        subscription = self._of.get(request.type_url)
        if subscription is None:
            return None  # a type that this gateway does not have: never answered, as for any unknown name
        self._subscribe(subscription, request)
        response = subscription.under_way
        # A stale nonce still carries valid subscriptions, and says nothing about the response under way.
        if response is None or request.nonce != response.nonce:
            return None
        subscription.under_way = None
        record = subscription.accepted if request.error is None else subscription.refused
        other = subscription.refused if request.error is None else subscription.accepted
        for each in response.changed:
            if subscription.sent.get(each.name) == each.version:
                record[each.name] = each.version
                if request.error is None:
                    other.pop(each.name, None)
        return Verdict(response, request.error)

    def outgoing(self) -> list[Response]:
        """Responses to send now, in order. Call again after every `receive` and `publish`."""
        if self._snapshot is None:
            return []
        responses = [self._next(self._snapshot, type_url) for type_url in TYPES]
        return [response for response in responses if response is not None]

    def _subscribe(self, subscription: _Subscription, request: Request) -> None:
        first, subscription.asked = not subscription.asked, True
        if first:
            self._resumed = self._resumed or bool(request.known)
            subscription.answered = bool(request.known)
            subscription.accepted.update(request.known)
            subscription.sent.update(request.known)
            if request.type_url == ENDPOINTS:
                # A cluster that changed on this stream already waits for its own, known or not.
                for name in request.known:
                    subscription.send_again(name)
            # Without names the first request means everything, where a type can be asked for as a whole.
            subscription.wildcard = not request.subscribe and request.type_url in (CLUSTER, LISTENER)
        for name in request.subscribe:
            if name == _WILDCARD:
                subscription.wildcard = True
                continue
            subscription.names.add(name)
            if not (first and name in request.known):
                subscription.forget(name)  # it must be sent again, whatever was sent before
        for name in request.unsubscribe:
            if name == _WILDCARD:
                subscription.wildcard = False
                continue
            subscription.names.discard(name)
            subscription.forget(name)

    def _next(self, snapshot: Snapshot, type_url: str) -> Response | None:
        subscription = self._of[type_url]
        if not subscription.asked or subscription.under_way is not None:
            return None
        if type_url == ROUTES and not self._clusters_usable(snapshot):
            return None
        changed = self._changed(snapshot, type_url)
        removed = self._removed(snapshot, type_url)
        # "There are none" is an answer too: without it an Envoy that just started waits for ever.
        if not changed and not removed and (subscription.answered or not subscription.wildcard):
            return None
        self._nonces += 1
        response = Response(type_url, str(self._nonces), snapshot.version, changed, removed)
        self._record(subscription, response)
        return response

    def _record(self, subscription: _Subscription, response: Response) -> None:
        subscription.under_way = response
        subscription.answered = True
        for each in response.changed:
            subscription.sent[each.name] = each.version
            subscription.awaited.discard(each.name)
            (subscription.peopled.discard if each.vacant else subscription.peopled.add)(each.name)
        for name in response.removed:
            subscription.forget(name)
            if name in subscription.names:
                subscription.sent[name] = _MISSING
        if response.type_url == CLUSTER:
            # A changed cluster starts without endpoints and waits for them, even for the same as before.
            for each in response.changed:
                self._of[ENDPOINTS].send_again(each.name)
                self._of[ENDPOINTS].awaited.add(each.name)
            for name in response.removed:
                self._of[ENDPOINTS].forget(name)

    def _changed(self, snapshot: Snapshot, type_url: str) -> tuple[EnvoyResource, ...]:
        subscription, have = self._of[type_url], snapshot.by_type[type_url]
        wanted = have if subscription.wildcard else sorted(subscription.names & have.keys())
        return tuple(
            have[name]
            for name in wanted
            if subscription.sent.get(name) != have[name].version
            and not (have[name].vacant and self._in_use(type_url, name))
        )

    def _removed(self, snapshot: Snapshot, type_url: str) -> tuple[str, ...]:
        subscription, have = self._of[type_url], snapshot.by_type[type_url]
        gone = {name for name, version in subscription.sent.items() if version != _MISSING} - have.keys()
        gone = {name for name in gone if not self._in_use(type_url, name)}
        unknown = {name for name in subscription.names - have.keys() if name not in subscription.sent}
        return tuple(sorted(gone | unknown))

    def _in_use(self, type_url: str, name: str) -> bool:
        """Whether routes that the Envoy holds may still lead to this resource."""
        routes = self._of[ROUTES]
        holds_routes = bool(routes.sent) or (self._resumed and not routes.asked)
        subscription = self._of[type_url]
        had_it = bool(subscription.sent.get(name)) and name not in subscription.awaited
        return holds_routes and had_it and not self._settled(ROUTES)

    def _settled(self, type_url: str) -> bool:
        subscription = self._of[type_url]
        if self._snapshot is None or subscription.under_way is not None:
            return False
        have = self._snapshot.by_type[type_url]
        if not subscription.asked:
            return not have
        wanted = have.keys() if subscription.wildcard else subscription.names & have.keys()
        return all(subscription.accepted.get(name) == have[name].version for name in wanted)

    def _clusters_usable(self, snapshot: Snapshot) -> bool:
        """Whether routes may lead to every cluster. One that was refused delays no other."""
        clusters, assignments = self._of[CLUSTER], self._of[ENDPOINTS]
        return all(
            name in clusters.refused
            or name in assignments.refused
            or (
                name in clusters.sent
                and name in assignments.accepted
                and (each.vacant or name in assignments.peopled)
            )
            for name, each in snapshot.by_type[ENDPOINTS].items()
        )
