"""What `stoker doctor` says of each breakage: facts in, the first finding and its lines out."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stoker.cli import doctor
from stoker.cli.diagnosis import gathering, installation, served
from stoker.cli.diagnosis.advice import ADVICE
from stoker.cli.diagnosis.facts import Answer, Denied, Installation, Served
from stoker.cli.diagnosis.findings import Level
from stoker.cli.doctor import doctor_command, text
from stoker.kube.errors import ConnectionFailed
from stoker.local.control_plane import ApiServer
from stoker.serving import names

Object = dict[str, Any]
REVISION = "chat-predictor-00001"
READY = {"type": "Ready", "status": "True"}
SCHEDULED = {"type": "PodScheduled", "status": "True"}


def deployment(name: str, replicas: int = 1, **status: Any) -> Object:
    labels = names.labels("chat", REVISION) if name == REVISION else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"replicas": replicas}, "status": status}


def own_pod(app: str, *conditions: Object, **status: Any) -> Object:
    metadata = {"name": f"{app}-x", "uid": app, "labels": {"app.kubernetes.io/name": app}}
    return {"metadata": metadata, "spec": {}, "status": {"conditions": list(conditions), **status}}


def crd(name: str, established: str = "True") -> Object:
    conditions = [{"type": "Established", "status": established, "message": "it is not"}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions}}


PROGRAMS = ("stoker-controller", "stoker-webhook", "stoker-gateway")
REGISTRATION: Object = {
    "metadata": {"name": "stoker.dev"},
    "webhooks": [{"clientConfig": {"caBundle": "x", "service": {}}}],
}
LEASE: Object = {"spec": {"holderIdentity": "stoker-controller-x_1", "renewTime": "2026-01-01T00:00:00Z"}}
STOKER = Installation(
    "stoker-system",
    crds=[crd(name) for name in installation.CRDS],
    deployments=[deployment(name) for name in PROGRAMS],
    pods=[own_pod(name, SCHEDULED, READY) for name in PROGRAMS],
    lease=LEASE,
    lease_moves=True,
    registration=REGISTRATION,
    webhook=Answer(404),
)


def without(name: str, *put: Object) -> list[Object]:
    pods = [own_pod(each, SCHEDULED, READY) for each in PROGRAMS if each != name]
    return [*pods, *put]


PULLING = {
    "name": "gateway",
    "image": "x:1",
    "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}},
}
INSTALLATIONS: dict[str, tuple[Installation, str, str, str]] = {
    "no CRD": (
        replace(STOKER, crds=[]),
        "CRDs",
        "there is no CRD inferenceservices.serving.kserve.io",
        "kubectl get crds",
    ),
    "CRD not established": (
        replace(STOKER, crds=[crd(name, "False") for name in installation.CRDS]),
        "CRDs",
        "inferenceservices.serving.kserve.io is not established: it is not",
        "kubectl describe crd inferenceservices.serving.kserve.io",
    ),
    "no Deployment": (
        replace(
            STOKER, deployments=[deployment(each) for each in PROGRAMS[1:]], lease=None, lease_moves=False
        ),
        "controller",
        "there is no Deployment stoker-controller in stoker-system",
        "kubectl get deployments -n stoker-system",
    ),
    "controller scaled to 0": (
        replace(
            STOKER,
            deployments=[deployment(PROGRAMS[0], 0), *map(deployment, PROGRAMS[1:])],
            pods=without("stoker-controller"),
            lease={"spec": {"holderIdentity": ""}},
            lease_moves=False,
        ),
        "controller",
        "the Deployment stoker-controller is scaled to 0",
        "kubectl get deployment stoker-controller -n stoker-system",
    ),
    "a Lease that nobody renews": (
        replace(STOKER, lease_moves=False),
        "controller",
        "stoker-controller-x_1 holds the Lease stoker-controller, renewed last at 2026-01-01T00:00:00Z",
        "kubectl logs -n stoker-system deployment/stoker-controller",
    ),
    "webhook not registered": (
        replace(STOKER, registration=None),
        "webhook",
        "no ValidatingWebhookConfiguration names it: nothing is checked",
        "kubectl logs -n stoker-system deployment/stoker-webhook",
    ),
    "webhook not trusted": (
        replace(STOKER, registration={**REGISTRATION, "webhooks": [{"clientConfig": {"service": {}}}]}),
        "webhook",
        "stoker.dev has no caBundle: API servers do not trust the webhook",
        "kubectl logs -n stoker-system deployment/stoker-webhook",
    ),
    "webhook out of reach": (
        replace(STOKER, webhook=Answer(0, "dial tcp: i/o timeout")),
        "webhook",
        "the API server cannot reach it: dial tcp: i/o timeout",
        "kubectl logs -n stoker-system deployment/stoker-webhook",
    ),
    "gateway's image": (
        replace(
            STOKER,
            pods=without("stoker-gateway", own_pod("stoker-gateway", SCHEDULED, containerStatuses=[PULLING])),
        ),
        "gateway",
        "ImagePullFailed: image x:1 cannot be pulled: no such host",
        "kubectl describe pod stoker-gateway-x -n stoker-system",
    ),
    "quota": (
        replace(
            STOKER,
            deployments=[
                *map(deployment, PROGRAMS[:2]),
                deployment(
                    PROGRAMS[2],
                    conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}],
                ),
            ],
            pods=without("stoker-gateway"),
        ),
        "gateway",
        "stoker-gateway has no pod: quota",
        "kubectl describe deployment stoker-gateway -n stoker-system",
    ),
}


@pytest.mark.parametrize("case", INSTALLATIONS)
def test_the_first_broken_part_of_stoker_is_named(case: str) -> None:
    facts, step, words, see = INSTALLATIONS[case]
    *before, last = installation.walk(facts)
    assert all(each.level is Level.FINE for each in before)
    assert (last.level, last.step, last.words, last.see) == (Level.BROKEN, step, words, see)


def test_all_is_well() -> None:
    found = list(installation.walk(STOKER))
    assert [each.step for each in found] == ["CRDs", "controller", "webhook", "gateway"]
    assert {each.level for each in found} == {Level.FINE}


def test_what_may_not_be_read_is_said_and_passed_over() -> None:
    denied = Denied('deployments: User "u" cannot list resource "deployments"')
    found = list(installation.walk(replace(STOKER, deployments=denied, pods=denied, lease=denied)))
    assert [each.level for each in found] == [Level.FINE, Level.SKIPPED, Level.FINE, Level.SKIPPED]
    assert "cannot list" in found[1].words


def test_programs_outside_the_cluster_are_seen_by_their_lease() -> None:
    found = list(installation.walk(replace(STOKER, deployments=(), pods=(), webhook=None)))
    assert [each.level for each in found] == [Level.FINE, Level.FINE, Level.FINE, Level.SKIPPED]


def isvc(ready: str, reason: str = "", message: str = "", *more: Object, **status: Any) -> Object:
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "message": message}, *more]
    predictor = {"latestCreatedRevision": REVISION}
    return {
        "metadata": {"name": "chat", "namespace": "default", "generation": 2},
        "status": {
            "observedGeneration": 2,
            "conditions": conditions,
            "components": {"predictor": predictor},
            "summary": {"replicas": "1/1"},
            **status,
        },
    }


def pod(*conditions: Object, uid: str = "u", revision: str = REVISION, **status: Any) -> Object:
    metadata = {"name": f"{revision}-{uid}", "uid": uid, "labels": names.labels("chat", revision)}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "kserve-container"}], "initContainers": [{"name": "fetch"}]},
        "status": {"conditions": list(conditions), **status},
    }


def container(state: Object, name: str = "kserve-container", **more: Any) -> Object:
    return {"name": name, "image": "i:1", "ready": False, "state": state, **more}


def ended(code: int, message: str = "", reason: str = "Error") -> Object:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


ASKED = "GET http://chat/x"
POSTED = "POST http://chat/y"
CHAT = "serving.kserve.io/inferenceservice=chat"
PODS_LOGS = f"kubectl logs -n default -l {CHAT} -c kserve-container --tail=50 --prefix"
SLICE = {"endpoints": [{"conditions": {"ready": True}}]}
DEPLOYED = deployment(REVISION)
WELL = Served(isvc("True"), [pod(SCHEDULED, READY)], [DEPLOYED], [SLICE], answer=Answer(200, asked=ASKED))
DYING = '{"phase": "Failed", "error": {"reason": "ModelNotFound", "message": "no such model"}}'
FALSE = isvc("False", "PodsNotReady", "too few")


def dying(*statuses: Object, **status: Any) -> Served:
    return replace(
        WELL, isvc=FALSE, pods=[pod(SCHEDULED, containerStatuses=list(statuses), **status)], answer=None
    )


NAME = f"{REVISION}-u -n default"
LOG = f"kubectl logs {NAME} -c"
DESCRIBE = "kubectl describe isvc chat -n default"
SERVICES: dict[str, tuple[Served, Level, str, str, str]] = {
    "well": (WELL, Level.FINE, "all", "1/1 ready, GET http://chat/x answered 200 in 0 ms", ""),
    "not looked at": (
        replace(WELL, isvc={"metadata": {"name": "chat", "namespace": "default", "generation": 1}}),
        Level.WAITING,
        "accepted",
        "the controller has not looked at generation 1 yet (it knows 0)",
        "kubectl logs -n stoker-system deployment/stoker-controller",
    ),
    "no runtime": (
        replace(WELL, isvc=isvc("False", "NoSupportingRuntime", "none fits"), pods=[], deployments=[]),
        Level.BROKEN,
        "runtime",
        "NoSupportingRuntime: none fits",
        DESCRIBE,
    ),
    "an edit that cannot be": (
        replace(
            WELL,
            isvc=isvc(
                "True",
                "",
                "",
                {
                    "type": "LatestDeploymentReady",
                    "status": "False",
                    "reason": "InvalidPredictorSpec",
                    "message": "x",
                },
            ),
        ),
        Level.BROKEN,
        "spec",
        "InvalidPredictorSpec: x",
        DESCRIBE,
    ),
    "no Deployment": (
        replace(WELL, deployments=[]),
        Level.BROKEN,
        "Deployment",
        f"revision {REVISION} has no Deployment",
        "kubectl get deployments -n default -l serving.kserve.io/inferenceservice=chat",
    ),
    "quota": (
        replace(
            WELL,
            deployments=[
                deployment(
                    REVISION, conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}]
                )
            ],
        ),
        Level.BROKEN,
        "pods",
        "FailedCreate: quota",
        f"kubectl describe deployment {REVISION} -n default",
    ),
    "no node": (
        replace(
            WELL,
            isvc=isvc("Unknown", "Unschedulable", "0/1 nodes"),
            pods=[
                pod(
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes",
                    }
                )
            ],
            answer=None,
        ),
        Level.BROKEN,
        "pods",
        "Unschedulable: 0/1 nodes",
        f"kubectl describe pod {NAME}",
    ),
    "image": (
        dying(container({"waiting": {"reason": "ImagePullBackOff", "message": "denied"}})),
        Level.BROKEN,
        "pods",
        "ImagePullFailed: image i:1 cannot be pulled: denied",
        f"kubectl describe pod {NAME}",
    ),
    "init container": (
        dying(initContainerStatuses=[container(ended(1, "bad key"), "fetch", restartCount=2)]),
        Level.BROKEN,
        "pods",
        "CrashLoopBackOff: init container fetch ended with exit code 1: bad key",
        f"{LOG} fetch --previous",
    ),
    "crash with a document": (
        dying(
            container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(1, DYING), restartCount=1)
        ),
        Level.BROKEN,
        "pods",
        "ModelNotFound: no such model (container kserve-container ended with exit code 1)",
        f"{LOG} kserve-container --previous",
    ),
    "memory": (
        dying(container(ended(137, reason="OOMKilled"), restartCount=1)),
        Level.BROKEN,
        "pods",
        "OOMKilled: container kserve-container used more memory than its limit and was killed;"
        " raise resources.limits.memory",
        f"kubectl describe pod {NAME}",
    ),
    "loading": (
        replace(
            dying(container({"running": {}})),
            isvc=isvc("Unknown", "Loading", "..."),
            states={"u": {"phase": "Loading", "progress": {"done": 4, "total": 10}}},
        ),
        Level.WAITING,
        "pods",
        "Loading: the weights are being loaded, 40%",
        f"kubectl describe pod {NAME}",
    ),
    "late": (
        replace(
            dying(container({"running": {}})), isvc=isvc("False", "ProgressDeadlineExceeded", "not in 8 s")
        ),
        Level.BROKEN,
        "status",
        "ProgressDeadlineExceeded: not in 8 s",
        DESCRIBE,
    ),
    "no endpoint": (
        replace(WELL, slices=[{"endpoints": [{"conditions": {"ready": False}}]}]),
        Level.BROKEN,
        "Service",
        "pods are ready, and the Service chat-predictor has no endpoint",
        "kubectl get endpointslices -n default -l kubernetes.io/service-name=chat-predictor",
    ),
    "no route": (
        replace(WELL, answer=Answer(404, "unknown host", code="unknown_host", asked=ASKED)),
        Level.BROKEN,
        "route",
        "GET http://chat/x is answered with 404: unknown host",
        "kubectl logs -n stoker-system deployment/stoker-gateway --all-containers",
    ),
    "Stoker elsewhere": (
        replace(WELL, answer=Answer(503, "no", code="no_ready_pods", asked=ASKED), stoker="ours"),
        Level.BROKEN,
        "route",
        "GET http://chat/x is answered with 503: no",
        "kubectl logs -n ours deployment/stoker-gateway --all-containers",
    ),
    "no gateway": (
        replace(WELL, answer=Answer(0, "refused", asked=ASKED)),
        Level.BROKEN,
        "gateway",
        "GET http://chat/x: refused",
        "kubectl logs -n stoker-system deployment/stoker-gateway --all-containers",
    ),
    "an error": (
        replace(WELL, answer=Answer(500, "oh", asked=ASKED)),
        Level.BROKEN,
        "request",
        "GET http://chat/x is answered with 500: oh",
        PODS_LOGS,
    ),
    "a server without a list of models": (
        replace(WELL, answer=Answer(404, "Not Found", asked=ASKED)),
        Level.FINE,
        "all",
        "1/1 ready, GET http://chat/x answered 404 in 0 ms",
        "",
    ),
    "keys": (
        replace(WELL, answer=Answer(401, "a key", asked=ASKED)),
        Level.FINE,
        "all",
        "1/1 ready, GET http://chat/x answered 401 in 0 ms",
        "",
    ),
    "no room": (
        replace(WELL, answer=Answer(429, "full", asked=ASKED)),
        Level.WAITING,
        "request",
        "GET http://chat/x is answered with 429: full",
        "stoker top -n default",
    ),
    "no token": (
        replace(WELL, answer=Answer(400, "no", asked=POSTED)),
        Level.BROKEN,
        "request",
        "POST http://chat/y is answered with 400: no",
        PODS_LOGS,
    ),
}


@pytest.mark.parametrize("case", SERVICES)
def test_the_first_broken_step_is_named(case: str) -> None:
    facts, level, step, words, see = SERVICES[case]
    found = served.walk(facts)
    assert (found.level, found.step, found.words, found.see) == (level, step, words, see)


def test_a_failing_update_names_the_new_pod_and_says_that_the_old_serves() -> None:
    old = pod(SCHEDULED, READY, uid="old", revision="chat-predictor-00000")
    new = dying(container(ended(1, "x"))).pods
    assert not isinstance(new, Denied)
    found = served.walk(replace(WELL, pods=[old, *new]))
    assert found.level is Level.BROKEN
    assert found.words.endswith("exit code 1: x; another revision still serves")


def test_pods_that_may_not_be_read_leave_the_status_and_the_request() -> None:
    denied = Denied("pods: no")
    assert served.walk(replace(WELL, pods=denied)).words == "not looked at: pods: no"
    broken = served.walk(replace(WELL, pods=denied, isvc=isvc("False", "OOMKilled", "big")))
    assert (broken.level, broken.words) == (Level.BROKEN, "OOMKilled: big")
    assert (
        served.walk(replace(WELL, pods=denied, answer=Answer(503, "no", code="no_ready_pods"))).step
        == "route"
    )


def test_one_that_hangs_or_fails_does_not_take_the_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(_client: Any, _target: Any, isvc: Object) -> Served:
        if isvc is slow:
            await asyncio.sleep(3600)
        if isvc is failing:
            raise ConnectionFailed("reset by peer")
        return replace(WELL, isvc=isvc)

    slow, failing, fine = (isvc("True") for _ in range(3))
    monkeypatch.setattr(gathering, "_served", look)
    everything = gathering.look_at_services(None, gathering.Target(), [slow, failing, fine], 0.2)  # type: ignore[arg-type]
    first, second, third = map(served.walk, asyncio.run(everything))
    assert (first.level, second.level, third.level) == (Level.SKIPPED, Level.SKIPPED, Level.FINE)
    assert "before it was its turn" in first.words
    assert second.words == "not looked at: reset by peer"


def test_a_cluster_without_any_says_so(api_server: ApiServer) -> None:
    arguments = ["-n", "nowhere", f"--kubeconfig={api_server.kubeconfig}", "--system-namespace=none"]
    said = CliRunner().invoke(doctor_command, arguments)
    assert "nowhere: there is no InferenceService in namespace nowhere" in said.output, said.output


def test_what_was_seen_before_a_list_is_refused_is_kept(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(*_: Any) -> Installation:
        return STOKER

    async def find(*_: Any) -> Denied:
        return Denied('inferenceservices: User "u" cannot list them at the cluster scope')

    monkeypatch.setattr(doctor, "look_at_installation", look)
    monkeypatch.setattr(doctor, "find_services", find)
    said = CliRunner().invoke(doctor_command, [f"--kubeconfig={api_server.kubeconfig}"])
    assert said.exit_code == 0, said.output
    assert "gateway: 1 of 1 pods ready" in said.output
    assert (
        "cannot list them at the cluster scope; name a namespace that is yours: -n NAMESPACE" in said.output
    )


def test_the_lines_a_person_reads() -> None:
    facts = SERVICES["image"][0]
    assert list(text("default/chat", served.walk(facts)))[1:] == [
        f"       see  kubectl describe pod {NAME}",
        "       do   correct the one that is wrong; kubectl describe pod has the registry's answer",
    ]


def test_advice_is_what_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
    reasons = page.partition("## Reasons: under way")[2].partition("\nStoker's own runtime ends with")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", reasons, re.MULTILINE)
    plain = {name: re.sub(r"\[([^\]]*)\]\([^)]*\)", r"docs/\1", do.replace("`", "")) for name, do in rows}
    assert {name: do for name, do in plain.items() if do != "nothing"} == ADVICE
