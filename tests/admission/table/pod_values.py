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


def _expressed(**fields: Any) -> Object:
    return _selected({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]} | fields]})


def _resized(*names: str) -> Object:
    return model(resizePolicy=[{"resourceName": name, "restartPolicy": "NotRequired"} for name in names])


def _claimed(**spec: Any) -> Object:
    good = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return _volume(ephemeral={"volumeClaimTemplate": {"spec": good | spec}})


def _paged(requests: Object | None = None, limits: Object | None = None) -> Object:
    amounts = {"cpu": "1", "memory": "2Gi"}
    return model(resources={"requests": amounts | (requests or {}), "limits": amounts | (limits or {})})


def _shared(**resources: Any) -> Object:
    """Of the pod as a whole; its container asks for a gibibyte."""
    own = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    return isvc(model={"resources": own}, resources=resources)


_RESIZED = {"resourceName": "cpu", "restartPolicy": "RestartContainer"}
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
        "nodes by a name that none has",
        "webhook",
        f"{_TERMS}[0].matchFields[0].values[0]",
        "lower case letters",
        _by_field(values=["a/b"]),
        _by_field(values=["a.b"]),
    ),
    (
        "name of a Secret",
        "webhook",
        f"{_M}.env[0].valueFrom.secretKeyRef.name",
        "lower case letters",
        _variable(secretKeyRef={"name": "My Secret", "key": "k"}),
        _variable(secretKeyRef={"name": "my.secret", "key": "k"}),
    ),
    (
        "name of a ConfigMap that is read whole",
        "webhook",
        f"{_M}.envFrom[0].configMapRef.name",
        "lower case letters",
        model(envFrom=[{"configMapRef": {"name": "My-Map"}}]),
        model(envFrom=[{"configMapRef": {"name": "my-map"}}]),
    ),
    (
        "file of no key",
        "webhook",
        f"{_P}.volumes[0].secret.items[0].key",
        "Required value",
        _volume(secret={"secretName": "s", "items": [{"key": "", "path": "x"}]}),
        _volume(secret={"secretName": "s", "items": [{"key": "k", "path": "x"}]}),
    ),
    (
        "claim with an empty way to use it",
        "webhook",
        f"{_P}.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes[0]",
        "Required value",
        _claimed(accessModes=[""]),
        _claimed(accessModes=["ReadWriteOnce"]),
    ),
    (
        "profile of no type",
        "webhook",
        f"{_P}.securityContext.seccompProfile.type",
        "Required value",
        isvc(securityContext={"seccompProfile": {"type": ""}}),
        isvc(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
    ),
    (
        "mount of the kernel, unsaid how",
        "webhook",
        f"{_M}.securityContext.procMount",
        'supported values: "Default", "Unmasked"',
        model(securityContext={"procMount": ""}),
        model(securityContext={"procMount": "Default"}),
    ),
    (
        "mount that reaches, unsaid where",
        "webhook",
        f"{_M}.volumeMounts[0].mountPropagation",
        "HostToContainer",
        isvc(
            model={"volumeMounts": [{"name": "a", "mountPath": "/a", "mountPropagation": ""}]},
            volumes=[{"name": "a", "emptyDir": {}}],
        ),
        isvc(
            model={"volumeMounts": [{"name": "a", "mountPath": "/a", "mountPropagation": "None"}]},
            volumes=[{"name": "a", "emptyDir": {}}],
        ),
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
        "gate of a pod's scheduling",
        "webhook",
        f"{_P}.schedulingGates[0].name",
        "must be a name",
        isvc(schedulingGates=[{"name": "{{.Nme}}"}]),
        isvc(schedulingGates=[{"name": "example.com/good"}]),
    ),
    (
        "claim of a resource, of nothing",
        "webhook",
        f"{_P}.resourceClaims[0]",
        "Required value: one of",
        isvc(resourceClaims=[{"name": "gpu"}]),
        isvc(resourceClaims=[{"name": "gpu", "resourceClaimName": "mine"}]),
    ),
    (
        "resource of nobody in a file",
        "webhook",
        f"{_P}.volumes[0].downwardAPI.items[0].resourceFieldRef.containerName",
        "Required value",
        _downward(fieldRef=None, resourceFieldRef={"resource": "limits.cpu"}),
        _downward(
            fieldRef=None, resourceFieldRef={"resource": "limits.cpu", "containerName": "kserve-container"}
        ),
    ),
    (
        "key of a field that has none",
        "webhook",
        f"{_M}.env[0].valueFrom.fieldRef.fieldPath",
        "must have no ['KEY']",
        _variable(fieldRef={"fieldPath": "metadata.name['x']"}),
        _variable(fieldRef={"fieldPath": "metadata.name"}),
    ),
    (
        "key that no label has",
        "webhook",
        f"{_M}.env[0].valueFrom.fieldRef.fieldPath",
        "must be a name of letters",
        _variable(fieldRef={"fieldPath": "metadata.labels['bad key!']"}),
        _variable(fieldRef={"fieldPath": "metadata.labels['example.com/good']"}),
    ),
    (
        "key that is not written out",
        "webhook",
        f"{_M}.env[0].valueFrom.fieldRef.fieldPath",
        "must be one of",
        _variable(fieldRef={"fieldPath": "metadata.annotations["}),
        _variable(fieldRef={"fieldPath": "metadata.annotations['Example.com/Upper']"}),
    ),
    (
        "field of another version",
        "webhook",
        f"{_M}.env[0].valueFrom.fieldRef.apiVersion",
        "must be v1",
        _variable(fieldRef={"apiVersion": "v2", "fieldPath": "metadata.name"}),
        _variable(fieldRef={"apiVersion": "v1", "fieldPath": "metadata.name"}),
    ),
    (
        "nodes by a label with what is no value",
        "webhook",
        f"{_TERMS}[0].matchExpressions[0].values[0]",
        "at most 63 letters",
        _expressed(values=["bad value!"]),
        _by_field(values=["a-node-with-a-long-name.of-more-than-63-characters.in-a-zone.example.com"]),
    ),
    (
        "selector of labels with a value that is none",
        "webhook",
        f"{_P}.topologySpreadConstraints[0].labelSelector.matchExpressions[0].values[0]",
        "at most 63 letters",
        _spread(labelSelector={"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}),
        _spread(labelSelector={"matchExpressions": [{"key": "a", "operator": "In", "values": ["b-c"]}]}),
    ),
    (
        "one resource resized in two ways",
        "webhook",
        f"{_M}.resizePolicy[1].resourceName",
        "Duplicate value",
        _resized("cpu", "cpu"),
        _resized("cpu", "memory"),
    ),
    (
        "init container that is resized by a restart",
        "webhook",
        f"{_P}.initContainers[0].resizePolicy[0].restartPolicy",
        "must be NotRequired",
        _init(resizePolicy=[_RESIZED]),
        _init(resizePolicy=[_RESIZED], restartPolicy="Always"),
    ),
    (
        "claim that is made of nothing",
        "webhook",
        f"{_P}.volumes[0].ephemeral.volumeClaimTemplate",
        "Required value",
        _volume(ephemeral={}),
        _claimed(),
    ),
    (
        "claim without a way to use it",
        "webhook",
        f"{_P}.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes",
        "Required value",
        _claimed(accessModes=[]),
        _claimed(accessModes=["ReadWriteMany"]),
    ),
    (
        "claim of no size",
        "webhook",
        f"{_P}.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests.storage",
        "Required value",
        _claimed(resources={}),
        _claimed(),
    ),
    (
        "claim of an empty size",
        "webhook",
        f"{_P}.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests.storage",
        "more than nothing",
        _claimed(resources={"requests": {"storage": "0"}}),
        _claimed(),
    ),
    (
        "number of one more group",
        "webhook",
        f"{_P}.securityContext.supplementalGroups[1]",
        "at most 2147483647",
        isvc(securityContext={"supplementalGroups": [1, 5_000_000_000]}),
        isvc(securityContext={"supplementalGroups": [1, 2_147_483_647]}),
    ),
    (
        "name of a claim of a resource",
        "webhook",
        f"{_P}.resourceClaims[0].resourceClaimName",
        "must be lower case",
        isvc(resourceClaims=[{"name": "gpu", "resourceClaimName": "My Claim"}]),
        isvc(resourceClaims=[{"name": "gpu", "resourceClaimName": "my.claim"}]),
    ),
    (
        "pages of no size",
        "webhook",
        f"{_M}.resources.limits.hugepages-foo",
        "hugepages-2Mi",
        _paged(limits={"hugepages-foo": "2Mi"}),
        _paged(limits={"hugepages-2Mi": "2Mi"}),
    ),
    (
        "part of a page",
        "webhook",
        f"{_M}.resources.limits.hugepages-2Mi",
        "multiple of the page",
        _paged(limits={"hugepages-2Mi": "3Mi"}),
        _paged(limits={"hugepages-2Mi": "4Mi"}),
    ),
    (
        "fewer pages than the limit",
        "webhook",
        f"{_M}.resources.requests.hugepages-2Mi",
        "equal to the limit",
        _paged(requests={"hugepages-2Mi": "2Mi"}, limits={"hugepages-2Mi": "4Mi"}),
        _paged(requests={"hugepages-2Mi": "4Mi"}, limits={"hugepages-2Mi": "4Mi"}),
    ),
    (
        "pages without a limit",
        "webhook",
        f"{_M}.resources.limits.hugepages-2Mi",
        "pages need a limit",
        _paged(requests={"hugepages-2Mi": "2Mi"}),
        _paged(requests={"hugepages-2Mi": "2Mi"}, limits={"hugepages-2Mi": "2Mi"}),
    ),
    (
        "pages and nothing beside them",
        "webhook",
        f"{_P}.initContainers[0].resources",
        "only for whom asks for cpu or memory",
        _init(resources={"limits": {"hugepages-2Mi": "2Mi"}}),
        _init(resources={"limits": {"hugepages-2Mi": "2Mi", "memory": "64Mi"}}),
    ),
    (
        "device of the pod as a whole",
        "webhook",
        f"{_P}.resources.limits[nvidia.com/gpu]",
        "write others at the containers",
        _shared(limits={"nvidia.com/gpu": "1"}),
        _shared(limits={"memory": "2Gi"}),
    ),
    (
        "claim of the pod as a whole",
        "webhook",
        f"{_P}.resources.claims",
        "resourceClaims",
        _shared(claims=[{"name": "gpu"}]),
        _shared(requests={"memory": "2Gi"}),
    ),
    (
        "request of the pod above its limit",
        "webhook",
        f"{_P}.resources.requests.memory",
        "at most the limit",
        _shared(requests={"memory": "4Gi"}, limits={"memory": "2Gi"}),
        _shared(requests={"memory": "2Gi"}, limits={"memory": "4Gi"}),
    ),
    (
        "pod that asks for less than its container",
        "webhook",
        f"{_P}.resources.requests.memory",
        "containers ask for together",
        _shared(requests={"memory": "512Mi"}),
        _shared(requests={"memory": "1Gi"}),
    ),
    (
        "pod whose limit is below its container's",
        "webhook",
        f"{_P}.resources.limits.memory",
        "at least the limit of container kserve-container",
        _shared(limits={"memory": "512Mi"}),
        _shared(limits={"memory": "1Gi"}),
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
