"""Stoker itself, from its CRDs to its gateway. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stoker.cli.diagnosis.facts import Answer, Denied, Installation
from stoker.cli.diagnosis.findings import Finding, Level, broken, skipped
from stoker.kube.resource import Object
from stoker.serving import names
from stoker.serving.status.pods import is_terminating, report, worst

CONTROLLER, WEBHOOK, GATEWAY = "stoker-controller", "stoker-webhook", "stoker-gateway"
CRDS = tuple(
    f"{plural}.{names.GROUP}" for plural in ("inferenceservices", "servingruntimes", "clusterservingruntimes")
)
_CRDS_FIRST = "install Stoker (README.md), its CRDs first: kubectl apply --server-side -k manifests/crds"
_INSTALL = "install Stoker: kubectl apply --server-side -k manifests/overlays/default"


def walk(facts: Installation) -> Iterator[Finding]:
    """One finding a step, the first that is broken being the last one."""
    for step in (_crds, _controller, _webhook, _gateway):
        finding = step(facts)
        yield finding
        if finding.level is Level.BROKEN:
            return


def _crds(facts: Installation) -> Finding:
    step = "CRDs"
    if isinstance(facts.crds, Denied):
        return skipped(step, facts.crds)
    found = {each["metadata"]["name"]: each for each in facts.crds}
    for name in CRDS:
        if name not in found:
            return broken(step, f"there is no CRD {name}", "kubectl get crds", _CRDS_FIRST)
        conditions = (found[name].get("status") or {}).get("conditions") or []
        wrong = [
            each
            for each in conditions
            if (each["type"] in ("Established", "NamesAccepted")) and each["status"] != "True"
        ]
        if wrong or not conditions:
            words = wrong[0].get("message") if wrong else "the API server has not looked at it"
            return broken(step, f"{name} is not established: {words}", f"kubectl describe crd {name}")
    return Finding(Level.FINE, step, f"{len(CRDS)} established")


def _controller(facts: Installation) -> Finding:
    """Its Lease is the proof that it runs, wherever it does; its Deployment says why it does not."""
    step, see = "controller", f"kubectl logs -n {facts.namespace} deployment/{CONTROLLER}"
    running = _deployment(facts, CONTROLLER, step)
    if facts.lease_moves and not isinstance(facts.lease, Denied):
        spec = (facts.lease or {}).get("spec") or {}
        if running.level is not Level.BROKEN or not _has(facts, CONTROLLER):
            return Finding(Level.FINE, step, f"{spec.get('holderIdentity')} holds the Lease")
    if running.level is not Level.FINE:
        return running
    if isinstance(facts.lease, Denied):
        return skipped(step, facts.lease)
    if facts.lease is None:
        return broken(step, f"a pod is ready, and there is no Lease {CONTROLLER}", see)
    spec = facts.lease.get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    words = f"{holder or 'nobody'} holds the Lease {CONTROLLER}, renewed last at {renewed}"
    return broken(step, words, see, f"kubectl rollout restart -n {facts.namespace} deployment/{CONTROLLER}")


def _webhook(facts: Installation) -> Finding:
    step = "webhook"
    see = f"kubectl logs -n {facts.namespace} deployment/{WEBHOOK}"
    running = _deployment(facts, WEBHOOK, step)
    if _has(facts, WEBHOOK) and running.level is not Level.FINE:
        return running
    if isinstance(facts.registration, Denied):
        return skipped(step, facts.registration)
    if facts.registration is None:
        unregistered = broken(step, "no ValidatingWebhookConfiguration names it: nothing is checked", see)
        return running if running.level is Level.BROKEN else unregistered
    return _registered(step, see, facts.registration, facts.webhook)


def _registered(step: str, see: str, registration: Object, answer: Answer | Denied | None) -> Finding:
    hooks = registration.get("webhooks") or []
    if not all((each.get("clientConfig") or {}).get("caBundle") for each in hooks):
        words = f"{registration['metadata']['name']} has no caBundle: API servers do not trust the webhook"
        return broken(step, words, see)
    if isinstance(answer, Denied):
        return skipped(step, answer)
    if answer is not None and answer.status == 0:
        words = f"the API server cannot reach it: {answer.words}"
        return broken(step, words, see, "until it can, changes are refused; let API servers through to it")
    return Finding(Level.FINE, step, "registered" + (" and answers" if answer is not None else ""))


def _gateway(facts: Installation) -> Finding:
    if not isinstance(facts.deployments, Denied) and not facts.deployments:
        return Finding(Level.SKIPPED, "gateway", f"not looked at: it is no Deployment in {facts.namespace}")
    return _deployment(facts, GATEWAY, "gateway")


def _has(facts: Installation, name: str) -> bool:
    found = facts.deployments
    return not isinstance(found, Denied) and any(each["metadata"]["name"] == name for each in found)


def _deployment(facts: Installation, name: str, step: str) -> Finding:
    """A Deployment of Stoker's own: there, wanted, and with a ready pod."""
    for seen in (facts.deployments, facts.pods):
        if isinstance(seen, Denied):
            return skipped(step, seen)
    assert not isinstance(facts.deployments, Denied)
    assert not isinstance(facts.pods, Denied)
    where = f"-n {facts.namespace}"
    found = [each for each in facts.deployments if each["metadata"]["name"] == name]
    if not found:
        words = f"there is no Deployment {name} in {facts.namespace}"
        return broken(step, words, f"kubectl get deployments {where}", _INSTALL)
    if found[0]["spec"].get("replicas", 1) == 0:
        return broken(
            step,
            f"the Deployment {name} is scaled to 0",
            f"kubectl get deployment {name} {where}",
            f"kubectl scale deployment {name} {where} --replicas=1",
        )
    return _pods(name, step, where, [each for each in facts.pods if _is_of(each, name)], found[0])


def _pods(name: str, step: str, where: str, pods: Sequence[Object], deployment: Object) -> Finding:
    reports = [report(pod, None) for pod in pods if not is_terminating(pod)]
    ready = sum(each.ready for each in reports)
    if ready:
        return Finding(Level.FINE, step, f"{ready} of {deployment['spec'].get('replicas', 1)} pods ready")
    trouble = worst(reports)
    if trouble is not None:
        see = f"kubectl describe pod {trouble.pod} {where}"
        return broken(step, f"{trouble.reason}: {trouble.message}", see)
    if reports and reports[0].progress:
        return Finding(Level.WAITING, step, f"no pod is ready: {reports[0].progress[1]}")
    conditions = (deployment.get("status") or {}).get("conditions") or []
    words = [each.get("message") for each in conditions if each["type"] == "ReplicaFailure"]
    said = words[0] if words else "no pod was made"
    return broken(step, f"{name} has no pod: {said}", f"kubectl describe deployment {name} {where}")


def _is_of(pod: Object, name: str) -> bool:
    return (pod["metadata"].get("labels") or {}).get(names.APP_NAME_LABEL) == name
