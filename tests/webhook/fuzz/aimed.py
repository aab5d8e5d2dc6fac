"""Values that rules are about, right and wrong ones: drawing blindly would hardly ever meet them."""

from __future__ import annotations

from typing import Any

from tests.admission.table import pod_values

_MODEL = ("spec", "predictor", "model")
_PREDICTOR = ("spec", "predictor")
_ID = "--model_id=org/model"


def _resources(**limits: Any) -> dict[str, Any]:
    named = {name.replace("gpu", "nvidia.com/gpu"): value for name, value in limits.items()}
    return {"limits": named}


# Of runtimes, at the fields of spec.
AIMED_RUNTIME: dict[tuple[str, ...], list[Any]] = {
    ("spec", "supportedModelFormats"): [
        [{"name": "huggingface", "priority": 1}, {"name": "huggingface", "version": "2", "priority": 2}],
        [{"name": "huggingface", "priority": 0}],
        [{"name": "huggingface", "version": "1"}, {"name": "huggingface", "version": "1"}],
        [{"version": "1"}],
        [3],
        "huggingface",
    ],
    ("spec", "containers"): [
        [{"name": "main", "image": "x.y/z:1"}],
        [{"name": "kserve-container", "image": "x.y/z:1"}, {"name": "kserve-container", "image": "x.y/z:1"}],
        [{"name": "kserve-container", "image": "x.y/z:1", "args": ["{{.Nme}}", "{{ printf }}", "{{.Name}}"]}],
        [{"name": "kserve-container", "image": "x.y/z:1", "resources": {"requests": {"cpu": "lots"}}}],
        [{"name": "kserve-container", "image": "x.y/z:1", "command": "serve"}],
        [],
    ],
    ("spec", "initContainers"): [[{"name": "kserve-container", "image": "x.y/z:1"}]],
    ("spec", "protocolVersions"): [["v1", 2], ["v2"], ["v1", "v2", "v1"]],
    ("spec", "multiModel"): [True, "yes"],
    ("spec", "disabled"): [True],
    ("spec", "replica"): [1],
    ("metadata", "annotations"): [
        {"stoker.dev/args-schema": "none"},
        {"stoker.dev/args-schem": "x"},
        {"stoker.dev/fetches": "yes", "stoker.dev/image-variants": "True"},
    ],
}

AIMED: dict[tuple[str, ...], list[Any]] = {
    (*_MODEL, "args"): [
        [_ID],
        [_ID, "--max-model-len=2048"],
        [_ID, "--max_model_len", "2048", "--dtype=float16"],
        [_ID, "--seed=7", "--gpu-memory-utilization=0.5"],
        [_ID, "--backend=vllm", "--enable-prefix-caching"],
        [_ID, "--backend=huggingface", "--max-num-seqs=8"],
        [_ID, "--backend=huggingface", "--enable-prefix-caching"],
        [_ID, "$(MORE)"],
        [_ID, "--$(MORE)=1"],
        [_ID, "--distributed-executor-backend=some.Executor"],
        [_ID, '--compilation-config={"backend": "some.compile"}'],
        [_ID, '--kv-transfer-config={"kv_connector_module_path": "some.module"}'],
        [_ID, "--no-such-flag"],
        [_ID, "--max-model-len=many"],
        [_ID, "--max-model-len=-5"],
        [_ID, "--max-model-len", "1", "2"],
        [_ID, "--max-model-len"],
        [_ID, "--max-model-len 2048"],
        [_ID, "--dtype=float17"],
        [_ID, "--gpu-memory-utilization=much"],
        [_ID, "--gpu-memory-utilization=7"],
        [_ID, "--enable-prefix-caching=perhaps"],
        [_ID, "--trust-remote-code"],
        [_ID, "--trust-remote-code=false"],
        [_ID, "--host=0.0.0.0"],
        [_ID, "--port=9999"],
        [_ID, "--middleware=x.y"],
        [_ID, "--api-key=x"],
        [_ID, "--http_port=9000", "--http_port=9001"],
        [_ID, "--model_dir=/x"],
        [_ID, "--max_model"],
        ["--model_id", "org/model"],
        ["--model_id=../x"],
        ["--model_id=org/model", "--model_id=org/other"],
        ["--model_id"],
        ["stray", _ID],
        [_ID, "stray=1"],
        [_ID, "--tensor-parallel-size=2"],
        [_ID, "--tensor-parallel-size=2", "--pipeline-parallel-size=2"],
        [_ID, "--nproc=1"],
        [_ID, "--model_name={{.Name}}"],
        [_ID, "--model_name={{.Labels.none}}"],
        [_ID, "--model_name={{.Nme}}"],
        [],
    ],
    (*_MODEL, "resources"): [
        _resources(cpu="2", memory="4Gi"),
        _resources(cpu="2", memory="512m"),
        _resources(cpu="2", memory=None),
        _resources(gpu=2),
        _resources(gpu="4"),
        _resources(gpu="500m"),
        {"limits": {"nvidia.com/gpu": 1}, "requests": {"nvidia.com/gpu": 2}},
        {"requests": {"cpu": "8", "memory": "1Gi"}, "limits": {"cpu": "1"}},
        {"requests": {"cpu": "-1"}},
        {"limits": {"memory": "lots"}},
        {"requests": {"cpus": "1"}},
        {"limits": {"cpu": "1"}, "claims": [{"name": "x"}]},
    ],
    (*_MODEL, "env"): [
        [{"name": "A", "value": "1"}],
        [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        [{"name": "LD_PRELOAD", "value": "/x.so"}],
        [{"name": "PYTHONPATH", "value": "/x"}],
        [{"name": "a=b", "value": "1"}],
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        [{"value": "1"}],
        [{"name": "", "value": "1"}],
        [{"name": "HF_TOKEN", "value": "{{.Name}}"}],
    ],
    (*_MODEL, "modelFormat"): [
        {"name": "huggingface"},
        {"name": "huggingface", "version": "1"},
        {"name": "huggingface", "version": "9"},
        {"name": "hugingface"},
        {"name": "onnx"},
        {"name": ""},
        {},
    ],
    (*_MODEL, "runtime"): [
        "kserve-huggingfaceserver",
        "mine",
        "kserve-huggingfacserver",
        "off",
        "many-nodes",
        "",
    ],
    (*_MODEL, "storageUri"): [
        "hf://org/model",
        "hf://org/model@v1",
        "hf://",
        "hf://a/b/c/d",
        "s3://bucket/models/a",
        "s3:///a",
        "pvc://models/a",
        "pvc://models/../a",
        "file:///models/a",
        "gs://x/y",
        "ftp://x/y",
        "models",
    ],
    (*_MODEL, "protocolVersion"): ["v1", "v2", "grpc-v2", "v9"],
    (*_MODEL, "image"): ["x.y/z:1", "X Y", ""],
    (*_MODEL, "volumeMounts"): [
        [{"name": "tmp", "mountPath": "/more"}],
        [{"name": "none", "mountPath": "/n"}],
        [{"name": "tmp", "mountPath": "/tmp"}],
    ],
    (*_PREDICTOR, "minReplicas"): [0, 1, 3, 1001, -1, "2"],
    (*_PREDICTOR, "maxReplicas"): [0, 1, 5],
    (*_PREDICTOR, "canaryTrafficPercent"): [0, 50, 100, 101],
    (*_PREDICTOR, "containers"): [
        [{"name": "helper", "image": "x.y/z:1"}],
        [{"name": "helper"}],
        [{"name": "helper", "image": "x.y/z:1"}, {"name": "helper", "image": "x.y/z:1"}],
        [{"image": "x.y/z:1"}],
        [{"name": "kserve-container", "image": "x.y/z:1"}],
    ],
    (*_PREDICTOR, "labels"): [
        {"team": "a"},
        {"stoker.dev/revision": "x"},
        {"bad key": "x"},
        {"team": "no spaces please"},
    ],
    (*_PREDICTOR, "annotations"): [{"a.b/c": "d"}, {"bad key": "x"}, {"stoker.dev/revision": "x"}],
    (*_PREDICTOR, "volumes"): [
        [{"name": "data", "emptyDir": {}}],
        [{"name": "tmp", "hostPath": {"path": "/"}}],
        [{"name": "data"}, {"name": "data"}],
    ],
    (*_PREDICTOR, "hostNetwork"): [True, False],
    (*_PREDICTOR, "deploymentStrategy"): [
        {"type": "Recreate"},
        {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
        {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
        {"rollingUpdate": {"maxSurge": "2"}},
        {"rollingUpdate": {"maxSurge": "150%", "maxUnavailable": "x"}},
    ],
    ("spec", "transformer"): [{"containers": [{"name": "t", "image": "x.y/t:1"}]}],
    ("metadata", "annotations"): [
        {"serving.kserve.io/deploymentMode": "RawDeployment"},
        {"serving.kserve.io/deploymentMod": "RawDeployment"},
        {"stoker.dev/nothing": "x"},
        {"a.b/c": "d"},
        {"serving.kserve.io/autoscalerClass": "sometimes"},
        {"serving.kserve.io/s3-usehttps": "sometimes"},
        {"stoker.dev/progress-deadline": "soon"},
        {"stoker.dev/progress-deadline": "90"},
        {"stoker.dev/objective-availability": "99.5", "stoker.dev/objective-ttft-seconds": "0.5"},
        {"stoker.dev/objective-availability": "100"},
        {"stoker.dev/objective-ttft-seconds": "0.3"},
        {"stoker.dev/objective-ttft-percent": "99"},
    ],
    ("metadata", "labels"): [{"stoker.dev/progress-deadline": "90"}, {"team": "a"}],
    ("metadata", "name"): ["a", "x" * 47, "x" * 48, "x" * 64, "Capital", "9a", "a.b"],
}

_PROBE = {"httpGet": {"path": "/", "port": 8080}}


def _probes(**probe: Any) -> dict[str, Any]:
    return {"livenessProbe": _PROBE | probe}


def _env(**source: Any) -> dict[str, Any]:
    return {"env": [{"name": "A", "valueFrom": source}]}


# Merged into spec.predictor.model.
MODELS: list[dict[str, Any]] = [
    {"image": " x.y/z:1"},
    {"image": "x.y/z:1", "args": ["serve"]},
    {"storageUri": "hf://org/model", "args": []},
    {"storageUri": "hf://org/model:bad revision", "args": []},
    {"storageUri": "hf://org/model:..", "args": []},
    {"storageUri": "hf://org/a b", "args": []},
    {"storageUri": "s3://Bad_Bucket/a", "args": []},
    {"storageUri": "pvc:///a", "args": []},
    {"storageUri": "pvc://a/b", "args": [], "volumeMounts": [{"name": "tmp", "mountPath": "/mnt/models"}]},
    {"storageUri": "pvc://a/b", "args": [], "runtime": "crowded"},
    {"args": [_ID, "--", "--seed=1"]},
    {"resources": {"requests": {"hugepages-2Mi": "2Mi"}, "limits": {"cpu": "1", "hugepages-2Mi": "4Mi"}}},
    {"args": [_ID, "--max-model-len=0"]},
    {"args": [_ID, "--max-num-seqs=0"]},
    {"args": [_ID, "--gpu-memory-utilization=nan"]},
    {"args": [_ID, "--hf-overrides={broken"]},
    {"args": [_ID, "--hf-overrides={}", "--speculative-config={x"]},
    {"args": [_ID, "--served-model-name"]},
    {"args": [_ID, "--allowed-origins"]},
    {"args": [_ID, "--max-model-len=16q"]},
    {"args": [_ID, "--workers=4", "--enable-grpc"]},
    {"args": [_ID, "--model-name=", "--kv-transfer-config=[1]", "--limit-mm-per-prompt=image"]},
    {"args": [_ID, '--kv-transfer-config={"a": 4g, "b": "' + '\\"' * 50]},
    {"args": [_ID, "--hf-overrides=" + '{"a":' * 2000 + "}"]},
    {"args": [_ID, "--enable-auto-tool-choice", "--num-gpu-blocks-override=None"]},
    {"args": ["--model_id=../../etc", "--storage_uri=pvc://a/b", "--model_revision=x"]},
    {"args": ["--model_id=hf://a/b", "--storage_uri=ftp://a"]},
    {"args": [_ID, "-tp=2"], "resources": {"limits": {"nvidia.com/gpu": 2, "rdma/hca": 1}}},
    {"args": [_ID, "--tensor-parallel-size=2"], "resources": {"limits": {"nvidia.com/gpu": 1}}},
    {"args": [_ID], "resources": {"limits": {"nvidia.com/gpu": 1}}, "env": [{"name": "X", "value": "y"}]},
    {"resources": {"requests": {"nvidia.com/gpu": 1}}},
    {"resources": {"limits": {"amd.com/gpu": 1}, "requests": {"amd.com/gpu": 1}}},
    {"resources": {"limits": {"example.com/fpga": 1}}},
    {"resources": {"limits": {"nvidia.com/gpus": 1}}},
    {"args": [_ID, "--tensor-parallel-size=²"], "resources": {"limits": {"nvidia.com/gpu": 1}}},
    {"args": [_ID, "--gpu-memory-utilization=0"]},
    {"livenessProbe": {"exec": {"command": ["true"] * 3001}}},
    {"env": [{"name": "HF_TOKEN", "value": "hf_x"}]},
    _probes(successThreshold=2),
    _probes(initialDelaySeconds=-1),
    _probes(terminationGracePeriodSeconds=0),
    _probes(exec={"command": ["true"]}),
    _probes(httpGet={"path": "/", "port": "none"}),
    _probes(httpGet={"path": "/", "port": 0}),
    _probes(httpGet={"path": "/"}),
    _probes(httpGet={"path": "/", "port": 8080, "scheme": "ftp"}),
    _probes(periodSeconds=2**40),
    _probes(periodSecs=3),
    {"livenessProbe": {"periodSeconds": 3}, "image": "x.y/z:1"},
    {"readinessProbe": _PROBE | {"terminationGracePeriodSeconds": 3}},
    {"livenessProbe": {"exec": {"command": []}}},
    {"ports": [{"containerPort": 1, "name": "same"}, {"containerPort": 2, "name": "same"}]},
    {"ports": [{"containerPort": 8080, "name": "No_Port"}]},
    {"ports": [{"containerPort": 0}]},
    {"ports": [{"containerPort": [1]}]},
    {"ports": [{}]},
    _env(),
    _env(secretKeyRef={"name": "s", "key": "k"}, fieldRef={"fieldPath": "metadata.name"}),
    _env(secretKeyRef={"key": "k"}),
    _env(secretKeyRef={"name": "s", "key": "a key"}),
    _env(fieldRef={"fieldPath": "spec.secrets"}),
    {"envFrom": [{}]},
    {"envFrom": [None]},
    {"envFrom": [{"secretRef": {"name": "s"}, "configMapRef": {"name": "c"}}]},
    {"envFrom": [{"secretRef": {}}]},
    {"envFrom": [{"secretRef": {"name": "s"}, "prefix": "a=b"}]},
    {"lifecycle": {"preStop": {}}},
    {"lifecycle": {"preStop": 7}},
    {"lifecycle": {"preStop": {"sleep": 7}}},
    {"lifecycle": {"preStop": {"sleep": {"seconds": 1}, "exec": {"command": ["a"]}}}},
    {"volumeMounts": [{"name": "", "mountPath": "/x"}]},
    {"volumeMounts": [{"name": "tmp", "mountPath": "/a:b"}]},
    {"volumeMounts": [{"name": "tmp", "mountPath": "/x", "subPath": "a", "subPathExpr": "b"}]},
    {"volumeMounts": [{"name": "tmp", "mountPath": "/x", "subPath": "/a"}]},
    {"volumeMounts": [{"name": "tmp", "mountPath": "/x", "subPath": "../a"}]},
    {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
    {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}, "allowPrivilegeEscalation": False}},
    {"securityContext": {"runAsNonRoot": True, "runAsUser": 0}},
    {"securityContext": {"runAsUser": -1}},
    {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
    {"securityContext": {"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}}},
    {"securityContext": {"appArmorProfile": {"type": "Localhost"}}},
    {"imagePullPolicy": "Sometimes"},
    {"runtime": 7},
    {"storage": "x"},
    {"args": "--model_id=a/b"},
    {"args": [7]},
    {"command": {"a": "b"}},
]

_TOLERATION = {"key": "gpu", "operator": "Exists"}
_SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}


_NEAR = {
    "topologyKey": "zone",
    "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near", "values": ["1"]}]},
}


def _affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def _preferred(weight: int) -> dict[str, Any]:
    term = {"weight": weight, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
    return {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}


def _metric(**metric: Any) -> dict[str, Any]:
    return {"autoScaling": {"metrics": [metric]}}


def _cpu(**target: Any) -> dict[str, Any]:
    return _metric(type="Resource", resource={"name": "cpu", "target": target})


def _volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "data", **source}]}


# Merged into spec.predictor.
PREDICTORS: list[dict[str, Any]] = [
    {"minReplicas": 3, "maxReplicas": 2},
    {"resourceClaims": [{"name": "a", "resourceClaimName": "b", "resourceClaimTemplateName": "c"}]},
    {"labels": {"team": "{{.Annotations.team}}"}, "annotations": {"team": "two words"}},
    {"resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "2m", "memory": "1Mi"}}},
    _volume(ephemeral={"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}),
    {"dnsPolicy": "None"},
    {"dnsConfig": {"nameservers": ["text"], "searches": ["a b"], "options": [{"value": "1"}]}},
    {"dnsConfig": {"nameservers": ["10.0.0.1"] * 4}},
    {"dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a.b", "."], "options": [{"name": "ndots"}]}},
    {"dnsPolicy": "Sometimes"},
    {"terminationGracePeriodSeconds": 1, "model": {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}},
    {"terminationGracePeriodSeconds": -1},
    _volume(emptyDir={}, configMap={"name": "c"}),
    _volume(persistentVolumeClaim={}),
    _volume(emptyDir={"medium": "Tape"}),
    _volume(emptyDir={"sizeLimit": "-1Gi"}),
    _volume(configMap={"name": "c", "items": [{"key": "k", "path": "/a"}]}),
    _volume(configMap={"name": "c", "items": [{"key": "k", "path": "../a"}]}),
    _volume(configMap={"name": "c", "items": [{"key": "k", "path": "a", "mode": 4096}]}),
    _volume(),
    {"volumes": [{"name": "Data", "emptyDir": {}}]},
    {"tolerations": [{"operator": "Equal"}]},
    {"tolerations": [_TOLERATION | {"value": "x"}]},
    {"tolerations": [_TOLERATION | {"tolerationSeconds": 5, "effect": "NoSchedule"}]},
    {"tolerations": [_TOLERATION | {"operator": "Maybe"}]},
    {"tolerations": [_TOLERATION]},
    {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": ""}]},
    {"topologySpreadConstraints": [_SPREAD | {"topologyKey": ""}]},
    {"topologySpreadConstraints": [_SPREAD | {"maxSkew": 0}]},
    _affinity({"key": "a", "operator": "In"}),
    _affinity({"key": "a", "operator": "Exists", "values": ["x"]}),
    _affinity({"key": "a", "operator": "Gt", "values": ["x"]}),
    _affinity({"key": "a", "operator": "In", "values": ["x"]}),
    _preferred(0),
    _preferred(5),
    {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_NEAR]}}},
    {"hostAliases": [{"ip": "here", "hostnames": ["a"]}]},
    {"securityContext": {"runAsNonRoot": True, "runAsUser": 0}},
    {"securityContext": {"sysctls": [{"name": "a.b", "value": "1"}, {"name": "a.b", "value": "2"}]}},
    {"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}},
    {"deploymentStrategy": {"type": "Sometimes"}},
    {"deploymentStrategy": {"rollingUpdate": {"maxSuge": 1}}},
    {"deploymentStrategy": {"rollingUpdate": {"maxUnavailable": "150%"}}},
    {"deploymentStrategy": {"rollingUpdate": {"maxUnavailable": "²%"}}},
    {"scaleMetric": "tokens"},
    {"scaleMetricType": "Sum"},
    {"scaleTarget": 0},
    {"scaleTarget": 150, "scaleMetric": "cpu"},
    {"autoScaling": {"metrics": ["cpu"]}},
    _metric(type="Sometimes"),
    _metric(type="Resource"),
    _metric(type="External", external={"metric": {"backend": "prometheus"}}),
    _metric(type="Resource", resource={"name": "disk", "target": {"type": "Utilization"}}),
    _metric(type="Resource", resource={"name": "cpu"}),
    _cpu(type="Sum"),
    _cpu(type="Utilization", averageUtilization=150),
    _cpu(type="AverageValue", averageValue="lots"),
    {"containers": [{"name": "transformer-container", "image": "x.y/t:1"}]},
    {"containers": [{"name": "Helper", "image": "x.y/z:1"}]},
    {"containers": [{"name": "helper", "image": "x.y/z:1", "livenessProbe": {"periodSeconds": 3}}]},
    {"containers": [{"name": "helper", "image": "x.y/z:1", "resources": {"requests": {"amd.com/gpu": 1}}}]},
    _volume(hostPath={}),
    _volume(secret={}),
    _volume(projected={"sources": [{"configMap": {}}]}),
    _volume(projected={"sources": [{"configMap": {"name": "c"}, "secret": {"name": "s"}}]}),
    _volume(projected={"sources": [{"serviceAccountToken": {"path": "/token"}}]}),
    _volume(projected={"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}]}),
    _affinity({"key": "a", "operator": "Near", "values": ["x"]}),
    {"containers": [{"name": 7.5, "image": "x.y/z:1"}]},
    {"initContainers": [{"name": "first", "image": "x.y/init:1"}]},
    {"initContainers": [7]},
    {"priorityClassName": "Not A Name"},
    {"runtimeClassName": ""},
    {"serviceAccountName": "Not A Name"},
    {"nodeSelector": {"bad key": "x"}},
    {"nodeSelector": 7},
    {"labels": {"team": 7}},
    {"tolerations": [{"key": {}}]},
    {"tolerations": [None]},
    {"imagePullSecrets": [{"name": [1]}]},
    {"hostPID": True},
    {"hostIPC": True},
    # Right values and wrong ones in turn.
    *(obj["spec"]["predictor"] for row in pod_values.ROWS for obj in (row[5], row[4])),
]

# Instead of spec.
SPECS: list[Any] = [
    {},
    {"predictor": {}},
    {"predictor": {"minReplicas": 1}},
    {"predictor": "x"},
    {"predictor": {"containers": [{"name": "a", "image": "x.y/z:1"}, {"name": "b", "image": "x.y/z:1"}]}},
]
