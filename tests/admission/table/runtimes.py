"""Mistakes in runtimes."""

from __future__ import annotations

from tests.admission.table.objects import Object, runtime
from tests.admission.table.services import Row

_C = "spec.containers[0]"
_F = "spec.supportedModelFormats"
_SCHEMA = {"stoker.dev/args-schema": "runtime-0.1.0"}


def _containers(*given: Object) -> Object:
    return runtime(containers=list(given))


def _formats(*given: Object) -> Object:
    return runtime(supportedModelFormats=list(given))


_SERVING = {"name": "kserve-container", "image": "a"}

ROWS: list[Row] = [
    (
        "init container called as a container",
        "webhook",
        "spec.initContainers[0].name",
        "a container is called so",
        runtime(initContainers=[{"name": "kserve-container", "image": "a"}]),
        runtime(initContainers=[{"name": "mine", "image": "a"}]),
    ),
    (
        "runtime that serves nothing",
        "cel",
        "spec.containers",
        "must be called kserve-container",
        _containers({"name": "server", "image": "a"}),
        _containers(_SERVING),
    ),
    (
        "runtime with two that serve",
        "cel",
        "spec.containers",
        "exactly one container",
        _containers(_SERVING, _SERVING),
        _containers(_SERVING, {"name": "b", "image": "b"}),
    ),
    (
        "runtime without containers",
        "cel",
        "spec.containers",
        "exactly one container",
        _containers(),
        _containers(_SERVING),
    ),
    (
        "runtime with helpers of one name",
        "webhook",
        "spec.containers[2].name",
        "Duplicate",
        _containers(_SERVING, {"name": "b", "image": "b"}, {"name": "b", "image": "c"}),
        _containers(_SERVING, {"name": "b", "image": "b"}, {"name": "c", "image": "c"}),
    ),
    (
        "runtime field mistyped",
        "schema",
        "spec.suportedModelFormats",
        "unknown field",
        runtime(suportedModelFormats=[]),
        runtime(),
    ),
    (
        "runtime format without name",
        "schema",
        f"{_F}[0].name",
        "Required",
        _formats({"version": "1"}),
        _formats({"name": "a", "version": "1"}),
    ),
    (
        "runtime priority below 1",
        "schema",
        f"{_F}[0].priority",
        "greater than or equal to 1",
        _formats({"name": "a", "priority": 0}),
        _formats({"name": "a", "priority": 1}),
    ),
    (
        "runtime with two priorities for a format",
        "webhook",
        f"{_F}[1].priority",
        "must be 1",
        _formats({"name": "a", "version": "1", "priority": 1}, {"name": "a", "version": "2", "priority": 2}),
        _formats({"name": "a", "version": "1", "priority": 1}, {"name": "a", "version": "2", "priority": 1}),
    ),
    (
        "runtime format twice",
        "webhook",
        f"{_F}[1]",
        "each format and version once",
        _formats({"name": "a", "version": "1"}, {"name": "a", "version": "1"}),
        _formats({"name": "a", "version": "1"}, {"name": "a", "version": "2"}),
    ),
    (
        "runtime protocol unknown",
        "schema",
        "spec.protocolVersions[0]",
        "Unsupported value",
        runtime(protocolVersions=["openai"]),
        runtime(protocolVersions=["v2"]),
    ),
    (
        "runtime protocol twice",
        "webhook",
        "spec.protocolVersions[1]",
        "Duplicate",
        runtime(protocolVersions=["v1", "v1"]),
        runtime(protocolVersions=["v1", "v2"]),
    ),
    (
        "runtime request over limit",
        "webhook",
        f"{_C}.resources.requests.cpu",
        "at most the limit",
        runtime(container={"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}),
        runtime(container={"resources": {"requests": {"cpu": 1}, "limits": {"cpu": 1}}}),
    ),
    (
        "runtime device mistyped",
        "webhook",
        f"{_C}.resources.limits[nvidia.com/gpus]",
        'did you mean "nvidia.com/gpu"',
        runtime(container={"resources": {"limits": {"nvidia.com/gpus": 1}}}),
        runtime(container={"resources": {"limits": {"nvidia.com/gpu": 1}}}),
    ),
    (
        "runtime variable twice",
        "schema",
        f"{_C}.env[1]",
        "Duplicate",
        runtime(container={"env": [{"name": "A"}, {"name": "A"}]}),
        runtime(container={"env": [{"name": "A"}, {"name": "B"}]}),
    ),
    (
        "runtime ports of one name",
        "webhook",
        f"{_C}.ports[1].name",
        "Duplicate",
        runtime(container={"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
        runtime(container={"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "b"}]}),
    ),
    (
        "runtime probe without port",
        "webhook",
        f"{_C}.readinessProbe.httpGet.port",
        "Required",
        runtime(container={"readinessProbe": {"httpGet": {"path": "/"}}}),
        runtime(container={"readinessProbe": {"httpGet": {"path": "/", "port": 80}}}),
    ),
    (
        "runtime probe of no port of its own",
        "webhook",
        f"{_C}.readinessProbe.tcpSocket.port",
        "Not found",
        runtime(container={"readinessProbe": {"tcpSocket": {"port": "http"}}}),
        runtime(
            container={
                "readinessProbe": {"tcpSocket": {"port": "http"}},
                "ports": [{"name": "http", "containerPort": 80}],
            }
        ),
    ),
    (
        "runtime mount of no volume",
        "webhook",
        f"{_C}.volumeMounts[0].name",
        "Not found",
        runtime(container={"volumeMounts": [{"name": "x", "mountPath": "/x"}]}),
        runtime(container={"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, volumes=[{"name": "x"}]),
    ),
    (
        "runtime probe mistyped",
        "webhook",
        f"{_C}.livenessProbe.periodSecond",
        'did you mean "periodSeconds"',
        runtime(container={"livenessProbe": {"periodSecond": 1, "tcpSocket": {"port": 80}}}),
        runtime(container={"livenessProbe": {"periodSeconds": 1, "tcpSocket": {"port": 80}}}),
    ),
    (
        "runtime affinity mistyped",
        "webhook",
        "spec.affinity.nodeAffinty",
        'did you mean "nodeAffinity"',
        runtime(affinity={"nodeAffinty": {}}),
        runtime(affinity={"nodeAffinity": {}}),
    ),
    (
        "runtime label of pods with a bad value",
        "webhook",
        "spec.labels.a",
        "at most 63",
        runtime(labels=None) | {"spec": runtime()["spec"] | {"labels": {"a": "b c"}}},
        runtime() | {"spec": runtime()["spec"] | {"labels": {"a": "{{.Name}}"}}},
    ),
    (
        "runtime flag that its image lacks",
        "webhook",
        f"{_C}.args[0]",
        "did you mean --model_name?",
        runtime(annotations=_SCHEMA, container={"args": ["--modle_name={{.Name}}"]}),
        runtime(annotations=_SCHEMA, container={"args": ["--model_name={{.Name}}"]}),
    ),
    (
        "runtime annotation mistyped",
        "webhook",
        "metadata.annotations[stoker.dev/args-shema]",
        'did you mean "stoker.dev/args-schema"',
        runtime(annotations={"stoker.dev/args-shema": "runtime-0.1.0"}),
        runtime(annotations=_SCHEMA),
    ),
    (
        "runtime annotation of another word",
        "webhook",
        "metadata.annotations[stoker.dev/fetches]",
        'did you mean "true"',
        runtime(annotations={"stoker.dev/fetches": "True"}),
        runtime(annotations={"stoker.dev/fetches": "true", "stoker.dev/image-variants": "false"}),
    ),
    (
        "runtime quantity that is none",
        "schema",
        f"{_C}.resources.limits.cpu",
        "should match",
        runtime(container={"resources": {"limits": {"cpu": "two"}}}),
        runtime(container={"resources": {"limits": {"cpu": "2"}}}),
    ),
]
