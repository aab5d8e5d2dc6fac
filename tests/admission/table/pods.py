"""Mistakes in pod-shaped parts: containers, probes, environment, volumes, devices, scheduling."""

from __future__ import annotations

from typing import Any

from tests.admission.table.objects import MODEL_ID, Object, gpus, isvc, model, own
from tests.admission.table.services import Row

_P = "spec.predictor"
_M = "spec.predictor.model"
_LIMITS = f"{_M}.resources.limits"
_GPU = f"{_LIMITS}[nvidia.com/gpu]"
_C = f"{_P}.containers[0]"


def _resources(requests: Object, limits: Object) -> Object:
    return model(resources={"requests": requests, "limits": limits})


def _env(*variables: Any) -> Object:
    return model(env=list(variables))


def _ready(**probe: Any) -> Object:
    return own(readinessProbe=probe, ports=[{"containerPort": 80, "name": "http"}])


def _mount(**mount: Any) -> Object:
    volumes = [{"name": "data", "emptyDir": {}}]
    return isvc(model={"volumeMounts": [{"name": "data", "mountPath": "/data"} | mount]}, volumes=volumes)


def _volume(*volumes: Object) -> Object:
    return isvc(volumes=list(volumes))


def _tolerate(**toleration: Any) -> Object:
    return isvc(tolerations=[toleration])


def _spread(**constraint: Any) -> Object:
    whole = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    return isvc(topologySpreadConstraints=[{k: v for k, v in (whole | constraint).items() if v is not None}])


def _nodes(**requirement: Any) -> Object:
    terms = [{"matchExpressions": [requirement]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return isvc(affinity={"nodeAffinity": required})


def _projected(*sources: Object) -> Object:
    return isvc(volumes=[{"name": "a", "projected": {"sources": list(sources)}}])


def _apart(term: Object) -> Object:
    return isvc(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})


_EXPRESSION = (
    f"{_P}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    ".nodeSelectorTerms[0].matchExpressions[0]"
)
_SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}
_GET = {"httpGet": {"path": "/", "port": "http"}}

ROWS: list[Row] = [
    (
        "device mistyped",
        "webhook",
        f"{_M}.resources.limits[nvidia.com/gpus]",
        'did you mean "nvidia.com/gpu"',
        model(resources={"limits": {"nvidia.com/gpus": 1}}),
        model(resources={"limits": {"nvidia.com/gpumem": 1}}),
    ),
    (
        "device in capitals",
        "webhook",
        f"{_M}.resources.limits[nvidia.com/GPU]",
        'did you mean "nvidia.com/gpu"',
        model(resources={"limits": {"nvidia.com/GPU": 1}}),
        gpus(1),
    ),
    # --- resources of the merged pod
    (
        "request over limit",
        "webhook",
        f"{_M}.resources.requests.cpu",
        "at most the limit",
        _resources({"cpu": "4"}, {"cpu": "2"}),
        _resources({"cpu": "2"}, {"cpu": "2"}),
    ),
    (
        "request over limit in other units",
        "webhook",
        f"{_M}.resources.requests.memory",
        "at most the limit",
        _resources({"memory": "4Gi"}, {"memory": "4G"}),
        _resources({"memory": "4G"}, {"memory": "4Gi"}),
    ),
    (
        "quantity that is none",
        "schema",
        f"{_LIMITS}.memory",
        "should match",
        model(resources={"limits": {"memory": "4GB"}}),
        model(resources={"limits": {"memory": "4G"}}),
    ),
    (
        "less than nothing",
        "schema",
        f"{_LIMITS}.cpu",
        "should match",
        model(resources={"limits": {"cpu": "-1"}}),
        model(resources={"limits": {"cpu": "1"}}),
    ),
    (
        "resource mistyped",
        "webhook",
        f"{_LIMITS}.cpus",
        'did you mean "cpu"',
        model(resources={"limits": {"cpus": "1"}}),
        model(resources={"limits": {"cpu": "1"}}),
    ),
    (
        "device without domain",
        "webhook",
        f"{_LIMITS}.gpu",
        "devices have a domain",
        model(resources={"limits": {"gpu": 1}}),
        gpus(1),
    ),
    ("part of a GPU", "webhook", _GPU, "whole number of devices", gpus("500m"), gpus(1)),
    (
        "fewer GPUs asked than allowed",
        "webhook",
        f"{_M}.resources.requests[nvidia.com/gpu]",
        "equal to the limit",
        gpus(2, "-tp=2", requests={"nvidia.com/gpu": 1}),
        gpus(2, "-tp=2", requests={"nvidia.com/gpu": 2}),
    ),
    (
        "device that the image is not built for",
        "webhook",
        f"{_LIMITS}[amd.com/gpu]",
        "no image",
        model(resources={"limits": {"amd.com/gpu": 1}}),
        gpus(1),
    ),
    (
        "more ranks than GPUs",
        "webhook",
        f"{_M}.args[1]",
        "needs 4 devices, and the container has 2",
        gpus(2, "--tensor_parallel_size=4"),
        gpus(4, "--tensor_parallel_size=4"),
    ),
    (
        "fewer ranks than GPUs",
        "webhook",
        f"{_M}.args[1]",
        "needs 2 devices, and the container has 4",
        gpus(4, "-tp", "2"),
        gpus(2, "-tp", "2"),
    ),
    (
        "tensor times pipeline over GPUs",
        "webhook",
        f"{_M}.args[1]",
        "needs 8 devices",
        gpus(4, "--tensor-parallel-size=4", "--pipeline-parallel-size=2"),
        gpus(8, "--tensor-parallel-size=4", "--pipeline-parallel-size=2"),
    ),
    (
        "limit of a container of one's own",
        "webhook",
        f"{_C}.resources.requests.cpu",
        "at most the limit",
        own(resources={"requests": {"cpu": 2}, "limits": {"cpu": 1}}),
        own(resources={"requests": {"cpu": 1}, "limits": {"cpu": 1}}),
    ),
    (
        "claim that the pod lacks",
        "webhook",
        f"{_M}.resources.claims[0].name",
        "Not found",
        model(resources={"claims": [{"name": "gpu"}]}),
        isvc(
            model={"resources": {"claims": [{"name": "gpu"}]}},
            resourceClaims=[{"name": "gpu", "resourceClaimName": "g"}],
        ),
    ),
    # --- containers
    (
        "no image",
        "webhook",
        f"{_C}.image",
        "names an image",
        isvc() | {"spec": {"predictor": {"containers": [{"name": "kserve-container"}]}}},
        own(),
    ),
    ("white space in an image", "webhook", f"{_C}.image", "white space", own(image=" a:1"), own(image="a:1")),
    (
        "container without name",
        "webhook",
        f"{_P}.containers[1].name",
        "Required",
        own({"image": "a"}),
        own({"name": "a", "image": "a"}),
    ),
    (
        "container of a bad name",
        "webhook",
        f"{_P}.containers[1].name",
        "lower case",
        own({"name": "A_b", "image": "a"}),
        own({"name": "a-b", "image": "a"}),
    ),
    (
        "containers of one name",
        "webhook",
        f"{_P}.containers[2].name",
        "Duplicate",
        own({"name": "a", "image": "a"}, {"name": "a", "image": "b"}),
        own({"name": "a", "image": "a"}, {"name": "b", "image": "b"}),
    ),
    (
        "field of a container mistyped",
        "schema",
        f"{_C}.comand",
        "unknown field",
        own(comand=["x"]),
        own(command=["x"]),
    ),
    (
        "field of an init container mistyped",
        "webhook",
        f"{_P}.initContainers[0].imagee",
        'did you mean "image"',
        isvc(initContainers=[{"name": "a", "imagee": "a"}]),
        isvc(initContainers=[{"name": "a", "image": "a"}]),
    ),
    (
        "init containers of one name",
        "schema",
        f"{_P}.initContainers[1]",
        "Duplicate",
        isvc(initContainers=[{"name": "a", "image": "a"}, {"name": "a", "image": "a"}]),
        isvc(initContainers=[{"name": "a", "image": "a"}, {"name": "b", "image": "a"}]),
    ),
    (
        "command as one string",
        "schema",
        f"{_C}.command",
        "array",
        own(command="python"),
        own(command=["python"]),
    ),
    (
        "pull policy unknown",
        "schema",
        f"{_M}.imagePullPolicy",
        "Unsupported value",
        model(imagePullPolicy="Sometimes"),
        model(imagePullPolicy="Always"),
    ),
    (
        "port out of range",
        "schema",
        f"{_M}.ports[0].containerPort",
        "less than or equal to 65535",
        model(ports=[{"containerPort": 70000}]),
        model(ports=[{"containerPort": 7000}]),
    ),
    (
        "name of a port in capitals",
        "webhook",
        f"{_M}.ports[0].name",
        "lower case",
        model(ports=[{"containerPort": 80, "name": "HTTP"}]),
        model(ports=[{"containerPort": 80, "name": "web"}]),
    ),
    (
        "ports of one name",
        "webhook",
        f"{_C}.ports[1].name",
        "Duplicate",
        own(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
        own(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "b"}]),
    ),
    (
        "port twice",
        "webhook",
        f"{_C}.ports[1].containerPort",
        "Duplicate",
        own(ports=[{"containerPort": 80}, {"containerPort": 80}]),
        own(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]),
    ),
    # --- environment
    (
        "variables of one name",
        "schema",
        f"{_M}.env[1]",
        "Duplicate",
        _env({"name": "A"}, {"name": "A"}),
        _env({"name": "A"}, {"name": "B"}),
    ),
    (
        "variable without name",
        "schema",
        f"{_M}.env[0].name",
        "Required",
        _env({"value": "1"}),
        _env({"name": "A", "value": "1"}),
    ),
    (
        "variable of no name",
        "schema",
        f"{_M}.env[0].name",
        "at least 1 chars",
        _env({"name": "", "value": "1"}),
        _env({"name": "A", "value": ""}),
    ),
    (
        "equals sign in a name",
        "schema",
        f"{_M}.env[0].name",
        "should match",
        _env({"name": "A=1"}),
        _env({"name": "A", "value": "1"}),
    ),
    (
        "value that is a number",
        "schema",
        f"{_M}.env[0].value",
        "string",
        _env({"name": "A", "value": 1}),
        _env({"name": "A", "value": "1"}),
    ),
    (
        "value and source",
        "webhook",
        f"{_M}.env[0].valueFrom",
        "one of the two",
        _env({"name": "A", "value": "1", "valueFrom": _SECRET}),
        _env({"name": "A", "valueFrom": _SECRET}),
    ),
    (
        "source of a variable mistyped",
        "webhook",
        f"{_M}.env[0].valueFrom.secretRef",
        'did you mean "secretKeyRef"',
        _env({"name": "A", "valueFrom": {"secretRef": {"name": "s"}}}),
        _env({"name": "A", "valueFrom": _SECRET}),
    ),
    (
        "no source",
        "webhook",
        f"{_M}.env[0].valueFrom",
        "Required value: one of configMapKeyRef",
        _env({"name": "A", "valueFrom": {}}),
        _env({"name": "A", "valueFrom": _SECRET}),
    ),
    (
        "variable of two sources",
        "webhook",
        f"{_M}.env[0].valueFrom",
        '["fieldRef", "secretKeyRef"]: must have exactly one of',
        _env({"name": "A", "valueFrom": {**_SECRET, "fieldRef": {"fieldPath": "metadata.name"}}}),
        _env({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    ),
    (
        "secret without key",
        "webhook",
        f"{_M}.env[0].valueFrom.secretKeyRef.key",
        "Required",
        _env({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}),
        _env({"name": "A", "valueFrom": _SECRET}),
    ),
    (
        "secret without name",
        "webhook",
        f"{_M}.env[0].valueFrom.secretKeyRef.name",
        "holds the key",
        _env({"name": "A", "valueFrom": {"secretKeyRef": {"key": "k"}}}),
        _env({"name": "A", "valueFrom": _SECRET}),
    ),
    (
        "field of the pod unknown",
        "webhook",
        f"{_M}.env[0].valueFrom.fieldRef.fieldPath",
        "must be one of",
        _env({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.name"}}}),
        _env({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    ),
    (
        "environment from nothing",
        "webhook",
        f"{_M}.envFrom[0]",
        "Required value: one of",
        model(envFrom=[{"prefix": "A"}]),
        model(envFrom=[{"secretRef": {"name": "s"}}]),
    ),
    # --- probes and hooks
    (
        "probe without port",
        "webhook",
        f"{_C}.readinessProbe.httpGet.port",
        "Required",
        _ready(httpGet={"path": "/"}),
        _ready(**_GET),
    ),
    (
        "probe that asks nothing",
        "webhook",
        f"{_C}.readinessProbe",
        "one of exec",
        _ready(periodSeconds=5),
        _ready(**_GET, periodSeconds=5),
    ),
    (
        "probe in two ways",
        "webhook",
        f"{_C}.readinessProbe.tcpSocket",
        "only one of",
        _ready(**_GET, tcpSocket={"port": 80}),
        _ready(tcpSocket={"port": 80}),
    ),
    (
        "probe of a port that does not exist",
        "webhook",
        f"{_C}.readinessProbe.httpGet.port",
        'did you mean "http"',
        _ready(httpGet={"port": "htpp"}),
        _ready(httpGet={"port": "http"}),
    ),
    (
        "probe of port 0",
        "webhook",
        f"{_C}.readinessProbe.tcpSocket.port",
        "from 1 to 65535",
        _ready(tcpSocket={"port": 0}),
        _ready(tcpSocket={"port": 80}),
    ),
    (
        "probe with an unknown scheme",
        "webhook",
        f"{_C}.readinessProbe.httpGet.scheme",
        "supported values",
        _ready(httpGet={"port": 80, "scheme": "http"}),
        _ready(httpGet={"port": 80, "scheme": "HTTP"}),
    ),
    (
        "probe without command",
        "webhook",
        f"{_C}.readinessProbe.exec.command",
        "program to run",
        _ready(exec={}),
        _ready(exec={"command": ["true"]}),
    ),
    (
        "field of a probe mistyped",
        "webhook",
        f"{_M}.startupProbe.failureTreshold",
        'did you mean "failureThreshold"',
        model(startupProbe={"failureTreshold": 5}),
        model(startupProbe={"failureThreshold": 5}),
    ),
    (
        "period that is text",
        "webhook",
        f"{_M}.readinessProbe.periodSeconds",
        "whole number",
        model(readinessProbe={"periodSeconds": "5"}),
        model(readinessProbe={"periodSeconds": 5}),
    ),
    (
        "period below zero",
        "webhook",
        f"{_M}.readinessProbe.periodSeconds",
        "at least 0",
        model(readinessProbe={"periodSeconds": -5}),
        model(readinessProbe={"periodSeconds": 5}),
    ),
    (
        "two successes for liveness",
        "webhook",
        f"{_M}.livenessProbe.successThreshold",
        "must be 1",
        model(livenessProbe={"successThreshold": 2}),
        model(livenessProbe={"successThreshold": 1}),
    ),
    (
        "hook that does nothing",
        "webhook",
        f"{_C}.lifecycle.postStart",
        "one of exec",
        own(lifecycle={"postStart": {}}),
        own(lifecycle={"preStop": {"sleep": {"seconds": 5}}}),
    ),
    (
        "sleep past the end",
        "webhook",
        f"{_P}.terminationGracePeriodSeconds",
        "60 seconds that preStop sleeps",
        isvc(model={"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}}, terminationGracePeriodSeconds=30),
        isvc(model={"lifecycle": {"preStop": {"sleep": {"seconds": 20}}}}, terminationGracePeriodSeconds=30),
    ),
    # --- volumes
    (
        "mount of no volume",
        "webhook",
        f"{_M}.volumeMounts[0].name",
        'did you mean "data"',
        _mount(name="date"),
        _mount(),
    ),
    (
        "mount below a parent",
        "webhook",
        f"{_M}.volumeMounts[0].subPath",
        "must not contain '..'",
        _mount(subPath="../x"),
        _mount(subPath="x"),
    ),
    (
        "colon in a mount",
        "webhook",
        f"{_M}.volumeMounts[0].mountPath",
        "must not contain ':'",
        _mount(mountPath="/a:b"),
        _mount(mountPath="/a-b"),
    ),
    (
        "two ways to a part of a volume",
        "webhook",
        f"{_M}.volumeMounts[0].subPathExpr",
        "only one of the two",
        _mount(subPath="a", subPathExpr="b"),
        _mount(subPathExpr="b"),
    ),
    (
        "mounts at one path",
        "schema",
        f"{_M}.volumeMounts[1]",
        "Duplicate",
        isvc(
            model={"volumeMounts": [{"name": "d", "mountPath": "/d"}, {"name": "d", "mountPath": "/d"}]},
            volumes=[{"name": "d"}],
        ),
        _mount(),
    ),
    (
        "volumes of one name",
        "schema",
        f"{_P}.volumes[1]",
        "Duplicate",
        _volume({"name": "a"}, {"name": "a"}),
        _volume({"name": "a"}, {"name": "b"}),
    ),
    (
        "volume without name",
        "schema",
        f"{_P}.volumes[0].name",
        "Required",
        _volume({"emptyDir": {}}),
        _volume({"name": "a", "emptyDir": {}}),
    ),
    (
        "volume of a bad name",
        "webhook",
        f"{_P}.volumes[0].name",
        "lower case",
        _volume({"name": "A"}),
        _volume({"name": "a"}),
    ),
    (
        "volume with two sources",
        "webhook",
        f"{_P}.volumes[0].secret",
        "one source",
        _volume({"name": "a", "emptyDir": {}, "secret": {"secretName": "s"}}),
        _volume({"name": "a", "secret": {"secretName": "s"}}),
    ),
    (
        "source of a volume mistyped",
        "webhook",
        f"{_P}.volumes[0].emptydir",
        'did you mean "emptyDir"',
        _volume({"name": "a", "emptydir": {}}),
        _volume({"name": "a", "emptyDir": {}}),
    ),
    (
        "claim without name",
        "webhook",
        f"{_P}.volumes[0].persistentVolumeClaim.claimName",
        "Required",
        _volume({"name": "a", "persistentVolumeClaim": {}}),
        _volume({"name": "a", "persistentVolumeClaim": {"claimName": "c"}}),
    ),
    (
        "size of a volume that is none",
        "webhook",
        f"{_P}.volumes[0].emptyDir.sizeLimit",
        "quantity",
        _volume({"name": "a", "emptyDir": {"sizeLimit": "4GB"}}),
        _volume({"name": "a", "emptyDir": {"sizeLimit": "4Gi"}}),
    ),
    (
        "medium unknown",
        "webhook",
        f"{_P}.volumes[0].emptyDir.medium",
        "Memory",
        _volume({"name": "a", "emptyDir": {"medium": "RAM"}}),
        _volume({"name": "a", "emptyDir": {"medium": "Memory"}}),
    ),
    # --- the rest of the pod
    (
        "toleration of no key",
        "webhook",
        f"{_P}.tolerations[0].operator",
        "must be Exists",
        _tolerate(effect="NoSchedule"),
        _tolerate(effect="NoSchedule", operator="Exists"),
    ),
    (
        "toleration that exists with a value",
        "webhook",
        f"{_P}.tolerations[0].value",
        "must be empty",
        _tolerate(key="a", operator="Exists", value="b"),
        _tolerate(key="a", operator="Equal", value="b"),
    ),
    (
        "effect unknown",
        "webhook",
        f"{_P}.tolerations[0].effect",
        "supported values",
        _tolerate(key="a", effect="NoRun"),
        _tolerate(key="a", effect="NoSchedule"),
    ),
    (
        "seconds of another effect",
        "webhook",
        f"{_P}.tolerations[0].effect",
        "must be NoExecute",
        _tolerate(key="a", effect="NoSchedule", tolerationSeconds=5),
        _tolerate(key="a", effect="NoExecute", tolerationSeconds=5),
    ),
    (
        "toleration as a mapping",
        "schema",
        f"{_P}.tolerations.key",
        "unknown field",
        isvc(tolerations={"key": "a"}),
        _tolerate(key="a"),
    ),
    (
        "spread over nothing",
        "webhook",
        f"{_P}.topologySpreadConstraints[0].topologyKey",
        "Required",
        _spread(topologyKey=None),
        _spread(),
    ),
    (
        "spread with no skew",
        "webhook",
        f"{_P}.topologySpreadConstraints[0].maxSkew",
        "at least 1",
        _spread(maxSkew=0),
        _spread(maxSkew=1),
    ),
    (
        "operator of nodes unknown",
        "webhook",
        f"{_EXPRESSION}.operator",
        "supported values",
        _nodes(key="gpu", operator="Is", values=["a"]),
        _nodes(key="gpu", operator="In", values=["a"]),
    ),
    (
        "nodes in no values",
        "webhook",
        f"{_EXPRESSION}.values",
        "compares with one or more",
        _nodes(key="gpu", operator="In"),
        _nodes(key="gpu", operator="Exists"),
    ),
    (
        "node selector with a bad value",
        "webhook",
        f"{_P}.nodeSelector.gpu",
        "at most 63",
        isvc(nodeSelector={"gpu": "a b"}),
        isvc(nodeSelector={"gpu": "a-b"}),
    ),
    (
        "node selector with a number",
        "schema",
        f"{_P}.nodeSelector.gpu",
        "string",
        isvc(nodeSelector={"gpu": 1}),
        isvc(nodeSelector={"gpu": "1"}),
    ),
    (
        "account of a bad name",
        "webhook",
        f"{_P}.serviceAccountName",
        "lower case",
        isvc(serviceAccountName="My_Account"),
        isvc(serviceAccountName="my-account"),
    ),
    (
        "class of a bad name",
        "webhook",
        f"{_P}.priorityClassName",
        "lower case",
        isvc(priorityClassName="High Priority"),
        isvc(priorityClassName="high-priority"),
    ),
    (
        "runtime class of a bad name",
        "webhook",
        f"{_P}.runtimeClassName",
        "lower case",
        isvc(runtimeClassName="NVIDIA"),
        isvc(runtimeClassName="nvidia"),
    ),
    (
        "DNS policy unknown",
        "webhook",
        f"{_P}.dnsPolicy",
        "supported values",
        isvc(dnsPolicy="Cluster"),
        isvc(dnsPolicy="ClusterFirst"),
    ),
    (
        "DNS server that is a name",
        "webhook",
        "spec.predictor.dnsConfig.nameservers[0]",
        "IP address",
        isvc(dnsConfig={"nameservers": ["dns.example.com"]}),
        isvc(dnsConfig={"nameservers": ["10.0.0.10"], "searches": ["example.com"]}),
    ),
    (
        "more DNS servers than a pod can ask",
        "webhook",
        "spec.predictor.dnsConfig.nameservers",
        "at most 3",
        isvc(dnsConfig={"nameservers": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]}),
        isvc(dnsConfig={"nameservers": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}),
    ),
    (
        "no DNS servers",
        "webhook",
        f"{_P}.dnsConfig.nameservers",
        "at least one",
        isvc(dnsPolicy="None"),
        isvc(dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.1"]}),
    ),
    (
        "alias of no address",
        "webhook",
        f"{_P}.hostAliases[0].ip",
        "IP address",
        isvc(hostAliases=[{"ip": "host", "hostnames": ["a"]}]),
        isvc(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["a"]}]),
    ),
    (
        "pods that end",
        "webhook",
        f"{_P}.restartPolicy",
        "must be Always",
        isvc(restartPolicy="Never"),
        isvc(restartPolicy="Always"),
    ),
    (
        "a deadline of pods",
        "webhook",
        f"{_P}.activeDeadlineSeconds",
        "pods have none",
        isvc(activeDeadlineSeconds=60),
        isvc(terminationGracePeriodSeconds=60),
    ),
    (
        "user that is text",
        "webhook",
        f"{_P}.securityContext.runAsUser",
        "whole number",
        isvc(securityContext={"runAsUser": "1000"}),
        isvc(securityContext={"runAsUser": 1000}),
    ),
    (
        "root that may not be",
        "webhook",
        f"{_P}.securityContext.runAsUser",
        "runAsNonRoot",
        isvc(securityContext={"runAsNonRoot": True, "runAsUser": 0}),
        isvc(securityContext={"runAsNonRoot": True, "runAsUser": 1000}),
    ),
    (
        "field of a security context mistyped",
        "webhook",
        f"{_M}.securityContext.runAsUsr",
        'did you mean "runAsUser"',
        model(securityContext={"runAsUsr": 1}),
        model(securityContext={"runAsUser": 1}),
    ),
    (
        "profile of a node without its name",
        "webhook",
        f"{_M}.securityContext.seccompProfile.localhostProfile",
        "names a profile",
        model(securityContext={"seccompProfile": {"type": "Localhost"}}),
        model(securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}),
    ),
    (
        "placeholder of a label that is missing",
        "webhook",
        "metadata.labels.team",
        "stands for it",
        model(args=[MODEL_ID, "--model_name={{.Labels.team}}"]),
        isvc(model={"args": [MODEL_ID, "--model_name={{.Labels.team}}"]}, labels={"team": "a"}),
    ),
    # --- what is deeper inside
    (
        "key of a ConfigMap with a slash",
        "webhook",
        f"{_M}.env[0].valueFrom.configMapKeyRef.key",
        "must be a key",
        _env({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a/b"}}}),
        _env({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a.b"}}}),
    ),
    (
        "name of a variable beyond ASCII",
        "webhook",
        f"{_M}.env[0].name",
        "printable ASCII",
        _env({"name": "GRÖSSE", "value": "1"}),
        _env({"name": "SIZE", "value": "1"}),
    ),
    (
        "request to port 0",
        "webhook",
        f"{_C}.readinessProbe.httpGet.port",
        "from 1 to 65535",
        _ready(httpGet={"port": 0}),
        _ready(httpGet={"port": 8080}),
    ),
    (
        "gRPC on port 0",
        "webhook",
        f"{_C}.readinessProbe.grpc.port",
        "from 1 to 65535",
        _ready(grpc={"port": 0}),
        _ready(grpc={"port": 9000}),
    ),
    (
        "hook that is a number",
        "webhook",
        f"{_M}.lifecycle.preStop",
        "must be an object",
        model(lifecycle={"preStop": 7}),
        model(lifecycle={"preStop": {"sleep": {"seconds": 7}}}),
    ),
    (
        "sleep that is a number",
        "webhook",
        f"{_M}.lifecycle.preStop.sleep",
        "must be an object",
        model(lifecycle={"preStop": {"sleep": 7}}),
        model(lifecycle={"preStop": {"sleep": {"seconds": 7}}}),
    ),
    (
        "sleep below zero",
        "webhook",
        f"{_C}.lifecycle.preStop.sleep.seconds",
        "at least 0",
        own(lifecycle={"preStop": {"sleep": {"seconds": -1}}}),
        own(lifecycle={"preStop": {"sleep": {"seconds": 1}}}),
    ),
    (
        "root that a container may not be",
        "webhook",
        f"{_C}.securityContext.runAsUser",
        "runAsNonRoot",
        own(securityContext={"runAsNonRoot": True, "runAsUser": 0}),
        own(securityContext={"runAsNonRoot": True, "runAsUser": 7}),
    ),
    (
        "group below zero",
        "webhook",
        f"{_C}.securityContext.runAsGroup",
        "at least 0",
        own(securityContext={"runAsGroup": -1}),
        own(securityContext={"runAsGroup": 1}),
    ),
    (
        "AppArmor profile without its name",
        "webhook",
        f"{_C}.securityContext.appArmorProfile.localhostProfile",
        "names a profile",
        own(securityContext={"appArmorProfile": {"type": "Localhost"}}),
        own(securityContext={"appArmorProfile": {"type": "RuntimeDefault"}}),
    ),
    (
        "projection of two things",
        "webhook",
        f"{_P}.volumes[0].projected.sources[0]",
        "exactly one source",
        _projected({"secret": {"name": "s"}, "configMap": {"name": "c"}}),
        _projected({"secret": {"name": "s"}}, {"configMap": {"name": "c"}}),
    ),
    (
        "projected secret without name",
        "webhook",
        f"{_P}.volumes[0].projected.sources[0].secret.name",
        "Required",
        _projected({"secret": {}}),
        _projected({"secret": {"name": "s"}}),
    ),
    (
        "projected ConfigMap without name",
        "webhook",
        f"{_P}.volumes[0].projected.sources[0].configMap.name",
        "Required",
        _projected({"configMap": {}}),
        _projected({"configMap": {"name": "c"}}),
    ),
    (
        "token that ends at once",
        "webhook",
        f"{_P}.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds",
        "at least 600",
        _projected({"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}),
        _projected({"serviceAccountToken": {"path": "t", "expirationSeconds": 600}}),
    ),
    (
        "item below a parent",
        "webhook",
        f"{_P}.volumes[0].secret.items[0].path",
        "must not contain '..'",
        _volume({"name": "a", "secret": {"secretName": "s", "items": [{"key": "k", "path": "../x"}]}}),
        _volume({"name": "a", "secret": {"secretName": "s", "items": [{"key": "k", "path": "x"}]}}),
    ),
    (
        "mode beyond 0777",
        "webhook",
        f"{_P}.volumes[0].secret.items[0].mode",
        "0777",
        _volume(
            {"name": "a", "secret": {"secretName": "s", "items": [{"key": "k", "path": "x", "mode": 4096}]}}
        ),
        _volume(
            {"name": "a", "secret": {"secretName": "s", "items": [{"key": "k", "path": "x", "mode": 256}]}}
        ),
    ),
    (
        "pods near nothing",
        "webhook",
        f"{_P}.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
        "a label of nodes",
        _apart({"topologyKey": ""}),
        _apart({"topologyKey": "kubernetes.io/hostname"}),
    ),
    (
        "pods by an unknown operator",
        "webhook",
        f"{_P}.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].operator",
        "must be In",
        _apart(
            {"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}
        ),
        _apart(
            {
                "topologyKey": "zone",
                "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
            }
        ),
    ),
    (
        "weight of nodes over 100",
        "webhook",
        f"{_P}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
        "from 1 to 100",
        isvc(
            affinity={
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 200, "preference": {}}]
                }
            }
        ),
        isvc(
            affinity={
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": {}}]
                }
            }
        ),
    ),
    (
        "weight of pods below 1",
        "webhook",
        f"{_P}.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
        "from 1 to 100",
        isvc(
            affinity={
                "podAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 0, "podAffinityTerm": {"topologyKey": "a"}}
                    ]
                }
            }
        ),
        isvc(
            affinity={
                "podAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "podAffinityTerm": {"topologyKey": "a"}}
                    ]
                }
            }
        ),
    ),
]
