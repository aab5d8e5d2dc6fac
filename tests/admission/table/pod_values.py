"""Values that Kubernetes would refuse in a pod, at the fields of a predictor that become the pod's."""

from __future__ import annotations

from typing import Any

from tests.admission.table.objects import Object, isvc, model
from tests.admission.table.services import Row

_P = "spec.predictor"
_M = "spec.predictor.model"
_SPREAD = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "labelSelector": {}}


def _volume(**source: Any) -> Object:
    return isvc(volumes=[{"name": "a", **source}])


def _downward(**item: Any) -> Object:
    return _volume(downwardAPI={"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.name"}} | item]})


def _init(**fields: Any) -> Object:
    return isvc(initContainers=[{"name": "a", "image": "a:1", **fields}])


def _toleration(**fields: Any) -> Object:
    return isvc(tolerations=[{"key": "a", **fields}])


def _spread(**fields: Any) -> Object:
    return isvc(topologySpreadConstraints=[_SPREAD | {"whenUnsatisfiable": "DoNotSchedule"} | fields])


def _selected(*terms: Any) -> Object:
    required = {"nodeSelectorTerms": list(terms)}
    return isvc(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})


def _by_field(**fields: Any) -> Object:
    return _selected({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]} | fields]})


def _variable(**source: Any) -> Object:
    return model(env=[{"name": "A", "valueFrom": source}])


def _headed(name: str) -> Object:
    probe = {"httpGet": {"path": "/", "port": 8080, "httpHeaders": [{"name": name, "value": "x"}]}}
    return model(livenessProbe=probe)


_TERMS = f"{_P}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
_ENDS = {"preStop": {"exec": {"command": ["true"]}}}
_MODES: list[Row] = [
    (
        f"mode of a volume's files, {kind}",
        "webhook",
        f"{_P}.volumes[0].{kind}.defaultMode",
        "from 0 to 0777",
        _volume(**{kind: source | {"defaultMode": 644}}),
        _volume(**{kind: source | {"defaultMode": 0o644}}),
    )
    for kind, source in (
        ("configMap", {"name": "c"}),
        ("secret", {"secretName": "s"}),
        ("projected", {"sources": [{"configMap": {"name": "c"}}]}),
        ("downwardAPI", {"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.name"}}]}),
    )
]


def _labelled(team: str) -> Object:
    made = isvc(annotations={"team": team})
    made["spec"]["predictor"]["labels"] = {"team": "{{.Annotations.team}}"}
    return made


ROWS: list[Row] = [
    *_MODES,
    (
        "file of the downward API above its volume",
        "webhook",
        f"{_P}.volumes[0].downwardAPI.items[0].path",
        "must not contain '..'",
        _downward(path="../x"),
        _downward(path="a/x"),
    ),
    (
        "field that no file can have",
        "webhook",
        f"{_P}.volumes[0].downwardAPI.items[0].fieldRef.fieldPath",
        "metadata.labels",
        _downward(fieldRef={"fieldPath": "status.podIP"}),
        _downward(fieldRef={"fieldPath": "metadata.labels"}),
    ),
    (
        "file of the downward API with two sources",
        "webhook",
        f"{_P}.volumes[0].downwardAPI.items[0]",
        "exactly one of",
        _downward(resourceFieldRef={"resource": "limits.cpu", "containerName": "kserve-container"}),
        _downward(
            fieldRef=None,
            resourceFieldRef={"resource": "limits.cpu", "containerName": "kserve-container"},
        ),
    ),
    (
        "NFS without a server",
        "webhook",
        f"{_P}.volumes[0].nfs.server",
        "Required value",
        _volume(nfs={"server": "", "path": "/x"}),
        _volume(nfs={"server": "files", "path": "/x"}),
    ),
    (
        "NFS with a relative path",
        "webhook",
        f"{_P}.volumes[0].nfs.path",
        "absolute path",
        _volume(nfs={"server": "files", "path": "x"}),
        _volume(nfs={"server": "files", "path": "/x"}),
    ),
    (
        "init container with a probe",
        "webhook",
        f"{_P}.initContainers[0].readinessProbe",
        "restartPolicy: Always",
        _init(readinessProbe={"exec": {"command": ["true"]}}),
        _init(readinessProbe={"exec": {"command": ["true"]}}, restartPolicy="Always"),
    ),
    (
        "init container with a hook",
        "webhook",
        f"{_P}.initContainers[0].lifecycle",
        "restartPolicy: Always",
        _init(lifecycle=_ENDS),
        _init(lifecycle=_ENDS, restartPolicy="Always"),
    ),
    (
        "restart policy of a container",
        "webhook",
        f"{_P}.initContainers[0].restartPolicy",
        "Always",
        _init(restartPolicy="Sometimes"),
        _init(restartPolicy="Always"),
    ),
    (
        "value of a toleration",
        "webhook",
        f"{_P}.tolerations[0].value",
        "at most 63 letters",
        _toleration(value="bad value!"),
        _toleration(value="good"),
    ),
    (
        "operator of a toleration",
        "webhook",
        f"{_P}.tolerations[0].operator",
        "Exists",
        _toleration(operator="Gt", value="5"),
        _toleration(operator="Exists"),
    ),
    (
        "spread over domains that need not be",
        "webhook",
        f"{_P}.topologySpreadConstraints[0].minDomains",
        "DoNotSchedule",
        _spread(minDomains=2, whenUnsatisfiable="ScheduleAnyway"),
        _spread(minDomains=2),
    ),
    (
        "selector of labels that compares numbers",
        "webhook",
        f"{_P}.topologySpreadConstraints[0].labelSelector.matchExpressions[0].operator",
        "must be In",
        _spread(labelSelector={"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
        _spread(labelSelector={"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}),
    ),
    (
        "selector of labels with what is none",
        "webhook",
        f"{_P}.topologySpreadConstraints[0].labelSelector.matchLabels.a",
        "at most 63 letters",
        _spread(labelSelector={"matchLabels": {"a": "bad value!"}}),
        _spread(labelSelector={"matchLabels": {"a": "good"}}),
    ),
    (
        "nodes by no term",
        "webhook",
        _TERMS,
        "at least one term",
        _selected(),
        _selected({"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
    ),
    (
        "nodes by a field that they are not chosen by",
        "webhook",
        f"{_TERMS}[0].matchFields[0].key",
        "metadata.name",
        _by_field(key="metadata.uid"),
        _by_field(),
    ),
    (
        "nodes by a field and several values",
        "webhook",
        f"{_TERMS}[0].matchFields[0].operator",
        "with one value",
        _by_field(values=["a", "b"]),
        _by_field(),
    ),
    (
        "number of a user",
        "webhook",
        f"{_M}.securityContext.runAsUser",
        "at most 2147483647",
        model(securityContext={"runAsUser": 5_000_000_000}),
        model(securityContext={"runAsUser": 2_147_483_647}),
    ),
    (
        "number of the pod's group",
        "webhook",
        f"{_P}.securityContext.fsGroup",
        "at most 2147483647",
        isvc(securityContext={"fsGroup": 5_000_000_000}),
        isvc(securityContext={"fsGroup": 2000}),
    ),
    (
        "resource that a variable cannot show",
        "webhook",
        f"{_M}.env[0].valueFrom.resourceFieldRef.resource",
        "limits.cpu",
        _variable(resourceFieldRef={"resource": "limits.cpux"}),
        _variable(resourceFieldRef={"resource": "limits.cpu"}),
    ),
    (
        "all labels in one variable",
        "webhook",
        f"{_M}.env[0].valueFrom.fieldRef.fieldPath",
        "metadata.labels['KEY']",
        _variable(fieldRef={"fieldPath": "metadata.labels"}),
        _variable(fieldRef={"fieldPath": "metadata.labels['a']"}),
    ),
    (
        "header of a probe",
        "webhook",
        f"{_M}.livenessProbe.httpGet.httpHeaders[0].name",
        "letters, digits",
        _headed("bad header"),
        _headed("X-Good"),
    ),
    (
        "what is resized",
        "webhook",
        f"{_M}.resizePolicy[0].resourceName",
        '"cpu", "memory"',
        model(resizePolicy=[{"resourceName": "gpu", "restartPolicy": "NotRequired"}]),
        model(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
    ),
    (
        "mount that reaches the node",
        "webhook",
        f"{_M}.volumeMounts[0].mountPropagation",
        "privileged",
        isvc(
            model={"volumeMounts": [{"name": "a", "mountPath": "/a", "mountPropagation": "Bidirectional"}]},
            volumes=[{"name": "a", "emptyDir": {}}],
        ),
        isvc(
            model={"volumeMounts": [{"name": "a", "mountPath": "/a", "mountPropagation": "None"}]},
            volumes=[{"name": "a", "emptyDir": {}}],
        ),
    ),
    (
        "gate of a pod's readiness",
        "webhook",
        f"{_P}.readinessGates[0].conditionType",
        "must be a name",
        isvc(readinessGates=[{"conditionType": "bad type"}]),
        isvc(readinessGates=[{"conditionType": "example.com/good"}]),
    ),
    (
        "claim of a resource, of nothing",
        "webhook",
        f"{_P}.resourceClaims[0]",
        "Required value: one of",
        isvc(resourceClaims=[{"name": "gpu"}]),
        isvc(resourceClaims=[{"name": "gpu", "resourceClaimName": "mine"}]),
    ),
    # --- what the author did not write
    (
        "volume called as one that Stoker adds",
        "webhook",
        f"{_P}.volumes[0].name",
        "Stoker adds a volume of this name for storageUri",
        isvc(
            model={"args": None, "storageUri": "pvc://claim/model"},
            volumes=[{"name": "kserve-pvc-source", "emptyDir": {}}],
        ),
        isvc(
            model={"args": None, "storageUri": "pvc://claim/model"},
            volumes=[{"name": "mine", "emptyDir": {}}],
        ),
    ),
    (
        "init container called as the one that Stoker adds",
        "webhook",
        f"{_P}.initContainers[0].name",
        "Stoker adds an init container of this name for storageUri",
        isvc(
            model={"args": None, "image": "a:1", "storageUri": "hf://org/model"},
            initContainers=[{"name": "storage-initializer", "image": "a:1"}],
        ),
        isvc(
            model={"args": None, "image": "a:1", "storageUri": "hf://org/model"},
            initContainers=[{"name": "mine", "image": "a:1"}],
        ),
    ),
    (
        "port called otherwise than the runtime's probe asks",
        "webhook",
        f"{_M}.startupProbe.httpGet.port",
        "runtime kserve-huggingfaceserver sets it",
        model(ports=[{"containerPort": 8080, "name": "mine"}]),
        model(ports=[{"containerPort": 8080, "name": "http"}]),
    ),
    (
        "label with what an annotation holds",
        "webhook",
        f"{_P}.labels.team",
        '"two words": must be at most',
        _labelled("two words"),
        _labelled("one"),
    ),
]
