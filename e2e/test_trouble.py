"""Each way in which a pod can fail, provoked for real and told by its own reason.

All are applied at once and then waited for one after the other: a kubelet takes its time for some of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster import Cluster
from e2e.objects import ECHO_RUNTIME, Object, custom, inference_service

IMAGE = "stoker.dev/runtime:0.1.0-cpu"
SMALL = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
SLEEP = "import time; time.sleep(600)"
HOG = "b = []\nwhile True: b.append(bytearray(4 << 20))"
FILL = "import time\nf = open('/scratch/x', 'wb')\nf.write(b'x' * (8 << 20)); f.flush()\ntime.sleep(600)"
# Takes SIGTERM for a wish and ends with 0, as servers do.
DEAF = "import time, signal; signal.signal(15, lambda *_: exit(0)); time.sleep(600)"


def program(name: str, code: str, **more: Any) -> Object:
    """A service whose container runs this Python program."""
    pod = more.pop("pod", {})
    container: Object = {"image": IMAGE, "command": ["python", "-c", code], "resources": SMALL}
    made = custom(name, **{**container, **more})
    made["spec"]["predictor"] |= pod
    return made


# Stoker gives a container without probes some that a program like these would fail.
PASSES: Object = {"exec": {"command": ["true"]}, "periodSeconds": 1}


def probe(port: int = 9, **more: int) -> Object:
    return {"tcpSocket": {"port": port}, "periodSeconds": 1, "timeoutSeconds": 1, **more}


def volume(name: str, source: Object) -> Object:
    return {"volumes": [{"name": name, **source}], "terminationGracePeriodSeconds": 1}


TROUBLES: dict[str, tuple[Object, str, tuple[str, ...]]] = {
    "nosecret": (
        program(
            "nosecret",
            SLEEP,
            startupProbe=PASSES,
            readinessProbe=PASSES,
            livenessProbe=PASSES,
            env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "t"}}}],
        ),
        "CreateContainerConfigError",
        ('secret "hf-token" not found',),
    ),
    "nomount": (
        program(
            "nomount",
            SLEEP,
            volumeMounts=[{"name": "prompts", "mountPath": "/prompts"}],
            pod=volume("prompts", {"configMap": {"name": "prompts"}}),
        ),
        "FailedMount",
        ("a volume cannot be mounted", 'configmap "prompts" not found'),
    ),
    "noclaim": (
        program(
            "noclaim",
            SLEEP,
            volumeMounts=[{"name": "disk", "mountPath": "/disk"}],
            pod=volume("disk", {"persistentVolumeClaim": {"claimName": "nobody"}}),
        ),
        "Unschedulable",
        ('persistentvolumeclaim "nobody" not found',),
    ),
    "hog": (program("hog", HOG), "OOMKilled", ("its limit of 128Mi", "raise resources.limits.memory")),
    "deaf": (
        program(
            "deaf",
            DEAF,
            startupProbe=PASSES,
            livenessProbe=probe(failureThreshold=2),
            pod={"terminationGracePeriodSeconds": 1},
        ),
        "LivenessProbeFailed",
        ("its liveness probe fails",),
    ),
    "slow": (
        program(
            "slow",
            SLEEP,
            startupProbe=probe(failureThreshold=3),
            pod={"terminationGracePeriodSeconds": 1},
        ),
        "StartupProbeFailed",
        ("its startup probe fails",),
    ),
    "late": (
        program("late", SLEEP, readinessProbe=probe()),
        "ProgressDeadlineExceeded",
        ("not ready within the 8 s allowed",),
    ),
    "noinit": (
        program(
            "noinit",
            SLEEP,
            pod={
                "initContainers": [
                    {
                        "name": "prepare",
                        "image": IMAGE,
                        "command": ["python", "-c", "raise SystemExit('the key does not fit')"],
                        "resources": SMALL,
                    }
                ]
            },
        ),
        "CrashLoopBackOff",
        ("init container prepare ended with exit code 1", "the key does not fit"),
    ),
    "full": (
        program(
            "full",
            FILL,
            volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}],
            pod=volume("scratch", {"emptyDir": {"sizeLimit": "1Mi"}}),
        ),
        "",  # Evicted while pods follow one another; in between the next one's progress, with these words
        ("exceeds the limit",),
    ),
}
TROUBLES["late"][0]["metadata"]["annotations"] = {"stoker.dev/progress-deadline": "8"}


@pytest.fixture(scope="module")
def troubled(cluster: Cluster) -> Iterator[Cluster]:
    """All of them at once, in a namespace of their own: the tests around clean the other."""
    cluster.kubectl("create", "namespace", "troubled", check=False)
    for made, _, _ in TROUBLES.values():
        made["metadata"]["namespace"] = "troubled"
    items = [made for made, _, _ in TROUBLES.values()]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})
    yield cluster
    cluster.kubectl("delete", "namespace", "troubled", "--wait=false")
    cluster.kubectl("delete", "pods", "--all", "-n", "troubled", "--force", "--grace-period=0", check=False)


def said(cluster: Cluster, name: str, *words: str) -> Object | None:
    """The Ready condition, once it is not True and has all these words."""
    ready = cluster.condition(name, namespace="troubled")
    told = ready.get("status") in ("False", "Unknown") and all(each in ready["message"] for each in words)
    return ready if told else None


@pytest.mark.timeout(240)
def test_each_trouble_has_its_reason_and_words(troubled: Cluster) -> None:
    failed = []
    for name, (_, reason, words) in TROUBLES.items():
        try:
            # They share their waiting: what comes last, an eviction, takes some 40 s.
            ready = troubled.wait(
                f"{name}: {reason} {words}", functools.partial(said, troubled, name, *words), timeout=90
            )
            assert ready["reason"] == reason or not reason, ready
            status = troubled.get("inferenceservice", name, namespace="troubled")["status"]
            assert not reason or status["modelStatus"]["lastFailureInfo"]["message"], name
            generic = {c["type"] for c in status["conditions"] if c["status"] == "True"}
            assert generic & {"Reconciling", "Stalled"}, f"{name}: generic tools would take it for done"
        except AssertionError as error:
            failed.append(str(error))
    assert not failed, "\n".join(failed)


def test_recovery_clears_the_failure(troubled: Cluster) -> None:
    troubled.wait_reason(
        "nosecret", "CreateContainerConfigError", "hf-token", timeout=60, namespace="troubled"
    )
    troubled.kubectl("create", "secret", "generic", "hf-token", "--from-literal=t=x", "-n", "troubled")
    isvc = troubled.wait_ready("nosecret", timeout=60, namespace="troubled")
    assert "lastFailureInfo" not in isvc["status"]["modelStatus"]
    assert isvc["status"]["modelStatus"]["copies"] == {"failedCopies": 0, "totalCopies": 1}


def test_a_cold_start_is_measured_and_generic_tools_can_wait(cluster: Cluster) -> None:
    cluster.apply(ECHO_RUNTIME)
    cluster.apply(inference_service("measured"))
    said = cluster.kubectl("wait", "--for=condition=Ready", "isvc/measured", "--timeout=60s")
    assert "condition met" in said

    def measured() -> Object:
        found: Object = cluster.get("inferenceservice", "measured")["status"].get("coldStart") or {}
        return found

    start = cluster.wait("the cold start is told", measured, timeout=20)
    assert start["revisionName"] == "measured-predictor-00001"
    phases = [start[f"{each}Seconds"] for each in ("scheduled", "pulled", "loaded", "warmed")]
    assert 0 < sum(phases) <= start["totalSeconds"] + 2, "the kubelet counts in whole seconds"
    cluster.wait_event("measured", "ColdStart")
    columns = cluster.kubectl("get", "isvc", "measured", "-o", "wide").splitlines()
    assert {"REASON", "REPLICAS", "RUNTIME", "MODEL"} <= set(columns[0].split())
    assert "1/1" in columns[1]
    assert "echo" in columns[1]
