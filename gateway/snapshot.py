"""From InferenceServices and pods to everything that Envoy must know. Pure: same inputs, same snapshot.

Replicas of the gateway therefore need no leader: names are made from names, versions from content.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway import answers, resources, traces
from gateway.resources import TYPES, Dict, EnvoyResource
from gateway.traces import Traces
from gateway.views import InferenceServiceView, PodView, view_inference_service, view_pod
from stoker.kube.resource import Object
from stoker.serving import names
from stoker.serving.settings import Settings

_HOST = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


@dataclass(frozen=True)
class Options:
    """What the snapshot depends on besides the cluster."""

    settings: Settings = field(default_factory=Settings)
    listener_port: int = 8000
    # Where exactly one InferenceService exists, it also answers to hosts outside the domain: localhost.
    default_host_fallback: bool = False
    access_log: bool = False
    traces: Traces | None = None


@dataclass(frozen=True)
class Snapshot:
    """All resources by type and name."""

    by_type: Mapping[str, Mapping[str, EnvoyResource]]
    problems: tuple[str, ...] = ()  # InferenceServices that could not get their host, in words

    @property
    def version(self) -> str:
        """Same for the same content."""
        return resources.digest({t: {n: r.version for n, r in rs.items()} for t, rs in self.by_type.items()})


def build(inference_services: Iterable[Object], pods: Iterable[Object], options: Options) -> Snapshot:
    """The snapshot for these objects, as the API server returns them, in any order."""
    views = filter(None, map(view_inference_service, inference_services))
    served = sorted(views, key=lambda view: (view.created, view.namespace, view.name))
    pods_of: defaultdict[tuple[str, str], list[PodView]] = defaultdict(list)
    for pod in filter(None, map(view_pod, pods)):
        pods_of[pod.namespace, pod.inference_service].append(pod)

    made: defaultdict[str, dict[str, EnvoyResource]] = defaultdict(dict)
    routes = {}
    for view in served:
        revisions = _by_revision(view, pods_of[view.namespace, view.name])
        for revision, ready in revisions.items():
            name = cluster_name(view, revision)
            made[resources.CLUSTER][name] = resources.cluster(name)
            addresses = [(pod.address, pod.port) for pod in ready]
            made[resources.ENDPOINTS][name] = resources.endpoints(name, addresses)
        routes[view] = _route(view, revisions)

    hosts, problems = _hosts(served, options.settings)
    table = resources.routes(_virtual_hosts(hosts, routes, options))
    made[resources.ROUTES][table.name] = table
    tracing = None
    if options.traces is not None:
        collector = resources.resource(traces.CLUSTER_NAME, traces.cluster(options.traces))
        made[resources.CLUSTER][collector.name] = collector
        tracing = traces.tracing(options.traces)
    listener = resources.listener(options.listener_port, access_log=options.access_log, tracing=tracing)
    made[resources.LISTENER][listener.name] = listener
    return Snapshot(MappingProxyType({kind: made[kind] for kind in TYPES}), problems)


def cluster_name(view: InferenceServiceView, revision: str) -> str:
    """`{namespace}/{name}/{revision}`, also in Envoy's metrics."""
    return f"{view.namespace}/{view.name}/{revision}"


def weights(traffic: Mapping[str, int], ready: Mapping[str, int]) -> dict[str, int]:
    """Weight per revision, none for a revision without a ready pod.

    `traffic` is percent per revision, `ready` the count of pods that take requests. A revision that should
    get traffic and has no pod leaves its share to the others; where no such revision has one, all ready pods
    serve, since an answer from another revision is better than none.
    """
    chosen = {name: percent for name, percent in traffic.items() if percent > 0 and ready.get(name, 0) > 0}
    return chosen or {name: count for name, count in ready.items() if count > 0}


def _by_revision(view: InferenceServiceView, pods: Iterable[PodView]) -> dict[str, list[PodView]]:
    """Ready pods of every revision that has traffic or any pod.

    A revision whose last pod is still ending keeps its cluster, so that streams end by themselves.
    """
    found: dict[str, list[PodView]] = {revision: [] for revision, _ in view.traffic}
    for pod in pods:
        ready = found.setdefault(pod.revision, [])
        if pod.takes_requests:
            ready.append(pod)
    return found


def _route(view: InferenceServiceView, revisions: Mapping[str, list[PodView]]) -> Dict:
    name = f"{view.namespace}/{view.name}"
    shares = weights(dict(view.traffic), {revision: len(ready) for revision, ready in revisions.items()})
    if not shares:
        return resources.answer_with(name, answers.not_ready(view.namespace, view.name, view.reason))
    clusters = {cluster_name(view, revision): weight for revision, weight in shares.items()}
    return resources.route_to(name, clusters, view.timeout)


def _hosts(
    served: Iterable[InferenceServiceView], settings: Settings
) -> tuple[dict[str, InferenceServiceView], tuple[str, ...]]:
    """Host -> InferenceService, and who got none. The oldest one keeps a host that several want.

    Envoy refuses the whole table for one host that is double or malformed, so none may get that far.
    """
    hosts: dict[str, InferenceServiceView] = {}
    problems = []
    for view in served:
        host = names.host(view.name, view.namespace, settings)
        owner = hosts.setdefault(host, view) if _HOST.fullmatch(host) else None
        if owner is None:
            problems.append(f"{view.namespace}/{view.name}: {host!r} is no host name")
        elif owner is not view:
            problems.append(
                f"{view.namespace}/{view.name}: the host {host} belongs to {owner.namespace}/{owner.name}"
            )
    return hosts, tuple(problems)


def _virtual_hosts(
    hosts: Mapping[str, InferenceServiceView], routes: Mapping[InferenceServiceView, Dict], options: Options
) -> list[Dict]:
    table = [resources.virtual_host(host, [host], routes[view]) for host, view in sorted(hosts.items())]
    settings = options.settings
    unknown = answers.unknown_host(names.host("<name>", "<namespace>", settings))
    catch_all = resources.answer_with("unknown-host", unknown)
    if options.default_host_fallback and len(routes) == 1:
        # A host inside the domain means one certain InferenceService, even if that is gone: never another.
        if settings.url_template.endswith(".{domain}"):
            inside = [f"*.{settings.domain.lower()}"]
            table.append(resources.virtual_host("unknown-host-in-domain", inside, catch_all))
        catch_all = next(iter(routes.values()))
    return [*table, resources.virtual_host("any-other-host", ["*"], catch_all)]
