"""One InferenceService, from what was stored to an answer. Pure: facts in, the first finding out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stoker.cli.diagnosis.advice import ADVICE
from stoker.cli.diagnosis.facts import Answer, Denied, Served, Unseen
from stoker.cli.diagnosis.findings import Finding, Level, broken, skipped
from stoker.kube.resource import Object
from stoker.serving import names
from stoker.serving.status.pod_events import read_events
from stoker.serving.status.pods import Report, is_ready, is_terminating, report, worst

_SPEC = {
    "NoSupportingRuntime": "runtime",
    "RuntimeNotRecognized": "runtime",
    "RuntimeDisabled": "runtime",
    "InvalidPredictorSpec": "spec",
    "ReconcileFailed": "children",
    "FailedCreate": "pods",
}
# The gateway's own answers (gateway/answers.py) where it does not get a request to a pod, and what to do.
_NO_ROUTE = {
    "unknown_host": "the gateway does not know the host: another InferenceService may have it; read its log",
    "no_ready_pods": "the gateway sees no ready pod: it may lag behind the API server; read its log",
    "upstream_unavailable": "the gateway cannot reach the pods: a NetworkPolicy may forbid it; read its log",
}
# What the pod's description shows; of all else its log does.
_DESCRIBED = frozenset(
    {
        "Unschedulable",
        "ImagePullFailed",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "PostStartHookError",
        "FailedMount",
        "FailedCreatePodSandBox",
        "StartError",
        "OOMKilled",
        "Evicted",
        "PodFailed",
    }
)


def walk(facts: Served | Unseen) -> Finding:
    """The first step that is not well; how it fares where all are."""
    if isinstance(facts, Unseen):
        return Finding(Level.SKIPPED, "", f"not looked at: {facts.words}")
    held: Finding | None = None
    for step in _STEPS:
        finding = step(facts)
        if finding is not None and finding.level is Level.SKIPPED:
            held = held or finding
        elif finding is not None:
            return finding
    return held or _fine(facts)


def _accepted(facts: Served) -> Finding | None:
    metadata = facts.isvc["metadata"]
    if metadata.get("deletionTimestamp"):
        return Finding(Level.WAITING, "deleted", "it is being deleted")
    seen = _status(facts).get("observedGeneration", 0)
    if seen >= metadata.get("generation", 0):
        return None
    words = f"the controller has not looked at generation {metadata.get('generation')} yet (it knows {seen})"
    see = f"kubectl logs -n {facts.stoker} deployment/stoker-controller"
    return Finding(Level.WAITING, "accepted", words, see)


def _stopped(facts: Served) -> Finding | None:
    stopped = _condition(facts, "Stopped")
    if stopped.get("status") != "True":
        return None
    return Finding(Level.FINE, "stopped", f"stopped by the annotation {names.STOP_ANNOTATION}")


def _spec(facts: Served) -> Finding | None:
    """What the controller cannot make pods of."""
    for kind in ("Ready", "LatestDeploymentReady"):
        found = _condition(facts, kind)
        if found.get("status") == "False" and found.get("reason") in _SPEC:
            return _told(facts, _SPEC[found["reason"]], found)
    return None


def _revision(facts: Served) -> Finding | None:
    if _latest(facts):
        return None
    return _told(facts, "revision", _condition(facts, "Ready")) or broken(
        "revision", "no revision was made of it", _describe(facts)
    )


def _deployment(facts: Served) -> Finding | None:
    if isinstance(facts.deployments, Denied):
        return skipped("Deployment", facts.deployments)
    latest = _latest(facts)
    found = [each for each in facts.deployments if _revision_of(each) == latest]
    see = f"kubectl get deployments {_where(facts)} -l {names.INFERENCE_SERVICE_LABEL}={_name(facts)}"
    if not found:
        return broken("Deployment", f"revision {latest} has no Deployment", see)
    conditions = (found[0].get("status") or {}).get("conditions") or []
    for each in conditions:
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            see = f"kubectl describe deployment {found[0]['metadata']['name']} {_where(facts)}"
            return broken("pods", f"FailedCreate: {each.get('message')}", see, ADVICE["FailedCreate"])
    return None


def _pods(facts: Served) -> Finding | None:
    """Troubles of the latest revision first: it is the one that was asked for, whoever still serves."""
    if isinstance(facts.pods, Denied):
        return _judged(facts) or skipped("pods", facts.pods)
    current = [pod for pod in facts.pods if not is_terminating(pod)]
    latest = [pod for pod in current if _revision_of(pod) == _latest(facts)]
    for chosen in (latest, current):
        reports = [_report(facts, pod) for pod in chosen]
        trouble = worst(reports)
        if trouble is not None and not (chosen is current and any(each.ready for each in reports)):
            pod = next(pod for pod in chosen if pod["metadata"]["name"] == trouble.pod)
            still = "; another revision still serves" if any(is_ready(each) for each in current) else ""
            words = f"{trouble.reason}: {trouble.message}{still}"
            return broken("pods", words, _see(facts, pod, trouble.reason), ADVICE.get(trouble.reason, ""))
    return _judged(facts) or _under_way(facts, [_report(facts, pod) for pod in latest])


def _judged(facts: Served) -> Finding | None:
    """What the controller says, where no pod says more: a deadline that passed, pods that went."""
    ready = _condition(facts, "Ready")
    return _told(facts, "status", ready) if ready.get("status") == "False" else None


def _under_way(facts: Served, reports: Sequence[Report]) -> Finding | None:
    ready = _condition(facts, "Ready")
    if ready.get("status") == "True":
        return None
    for each in reports:
        if each.progress is not None:
            words = f"{each.progress[0]}: {each.progress[1]}"
            return Finding(Level.WAITING, "pods", words, f"kubectl describe pod {each.pod} {_where(facts)}")
    words = f"{ready.get('reason', 'Unknown')}: {ready.get('message', 'nothing is known of it yet')}"
    return Finding(Level.WAITING, "status", words, _describe(facts))


def _endpoints(facts: Served) -> Finding | None:
    if isinstance(facts.slices, Denied):
        return skipped("Service", facts.slices)
    ready = [
        endpoint
        for each in facts.slices
        for endpoint in each.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
    ]
    if ready:
        return None
    service = names.service_name(_name(facts))
    see = f"kubectl get endpointslices {_where(facts)} -l kubernetes.io/service-name={service}"
    return broken("Service", f"pods are ready, and the Service {service} has no endpoint", see)


def _request(facts: Served) -> Finding | None:
    """One real request through the gateway.

    Whatever the server itself says to a client is an answer: 401 where it wants a key, 404 of a server of
    one's own that has no list of models. 429 is no breakage, and what was asked for with `--ask` must come.
    """
    if isinstance(facts.answer, Denied):
        return skipped("request", facts.answer)
    return None if facts.answer is None else _answered(facts, facts.answer)


def _answered(facts: Served, answer: Answer) -> Finding | None:
    gateway = f"kubectl logs -n {facts.stoker} deployment/stoker-gateway --all-containers"
    if answer.status == 0:
        return broken("gateway", f"{answer.asked}: {answer.words}", gateway)
    words = f"{answer.asked} is answered with {answer.status}: {answer.words}"
    if answer.code in _NO_ROUTE:
        return broken("route", words, gateway, _NO_ROUTE[answer.code])
    if answer.status == 429:
        return Finding(Level.WAITING, "request", words, f"stoker top {_where(facts)}")
    refused = answer.asked.startswith("POST ") and answer.status >= 400 and answer.status not in (401, 403)
    if answer.status >= 500 or refused:
        return broken("request", words, _logs(facts), "its last lines say what went wrong")
    return None


def _logs(facts: Served) -> str:
    selector = f"{names.INFERENCE_SERVICE_LABEL}={_name(facts)}"
    return f"kubectl logs {_where(facts)} -l {selector} -c {names.MODEL_CONTAINER} --tail=50 --prefix"


_STEPS: tuple[Callable[[Served], Finding | None], ...] = (
    _accepted,
    _stopped,
    _spec,
    _revision,
    _deployment,
    _pods,
    _endpoints,
    _request,
)


def _fine(facts: Served) -> Finding:
    summary = _status(facts).get("summary") or {}
    words = f"{summary.get('replicas', '?')} ready"
    if facts.answer is not None and not isinstance(facts.answer, Denied):
        milliseconds = round(facts.answer.seconds * 1000)
        words += f", {facts.answer.asked} answered {facts.answer.status} in {milliseconds} ms"
    return Finding(Level.FINE, "all", words)


def _told(facts: Served, step: str, condition: Object) -> Finding | None:
    reason = condition.get("reason")
    if not reason or condition.get("status") != "False":
        return None
    words = f"{reason}: {condition.get('message')}"
    return broken(step, words, _describe(facts), ADVICE.get(reason, ""))


def _report(facts: Served, pod: Object) -> Report:
    uid = pod["metadata"]["uid"]
    said = read_events(pod, facts.events.get(uid) or ())
    return report(pod, facts.states.get(uid), said)


def _see(facts: Served, pod: Object, reason: str) -> str:
    name = pod["metadata"]["name"]
    container = _container(pod)
    if reason in _DESCRIBED or container is None:
        return f"kubectl describe pod {name} {_where(facts)}"
    runs = "running" in (container.get("state") or {})
    previous = " --previous" if container.get("restartCount") and not runs else ""
    return f"kubectl logs {name} {_where(facts)} -c {container['name']}{previous}"


def _container(pod: Object) -> Object | None:
    """The container whose log is meant: the first that is not well."""
    status = pod.get("status") or {}
    for each in status.get("initContainerStatuses") or []:
        if not each.get("ready") and (each.get("state") or {}).keys() & {"running", "terminated"}:
            return dict(each)
        if each.get("lastState"):
            return dict(each)
    own = status.get("containerStatuses") or []
    chosen = [each for each in own if not each.get("ready") and (each.get("state") or each.get("lastState"))]
    return dict(min(chosen, key=lambda each: each["name"] != names.MODEL_CONTAINER)) if chosen else None


def _latest(facts: Served) -> str:
    predictor = (_status(facts).get("components") or {}).get("predictor") or {}
    return str(predictor.get("latestCreatedRevision") or "")


def _condition(facts: Served, kind: str) -> Object:
    conditions = _status(facts).get("conditions") or []
    return next((dict(each) for each in conditions if each["type"] == kind), {})


def _status(facts: Served) -> Object:
    found: Object = facts.isvc.get("status") or {}
    return found


def _revision_of(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get(names.REVISION_LABEL) or "")


def _name(facts: Served) -> str:
    return str(facts.isvc["metadata"]["name"])


def _where(facts: Served) -> str:
    return f"-n {facts.isvc['metadata']['namespace']}"


def _describe(facts: Served) -> str:
    return f"kubectl describe isvc {_name(facts)} {_where(facts)}"
