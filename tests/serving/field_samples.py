"""A value for every field that a predictor can carry; where a row is about some values only, one of those."""

from __future__ import annotations

from typing import Any

SPEC: dict[str, Any] = {
    "transformer": {"containers": [{"name": "a", "image": "a"}]},
    "explainer": {"art": {"type": "SquareAttack"}},
    "canary": [{"trafficPercent": 10, "predictor": {"name": "b"}}],
}

MODEL: dict[str, Any] = {
    "modelFormat": {"name": "huggingface", "version": "1"},
    "runtime": "kserve-huggingfaceserver",
    "runtimeVersion": "0.2.0",
    "protocolVersion": "v2",
    "storageUri": "hf://org/model",
    "storage": {"key": "a", "path": "b", "parameters": {"type": "s3"}},
    "confidential": {"enabled": True, "resourceId": "a"},
}

PREDICTOR: dict[str, Any] = {
    "model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/model"]},
    "containers": [{"name": "side", "image": "side:1"}],
    "name": "b",
    "storageUris": [{"uri": "hf://org/model", "mountPath": "/mnt/a"}],
    "storageContainerName": "mine",
    "workerSpec": {"pipelineParallelSize": 2, "containers": [{"name": "worker"}]},
}

EXTENSION: dict[str, Any] = {
    "minReplicas": 0,
    "maxReplicas": 4,
    "scaleTarget": 10,
    "scaleMetric": "concurrency",
    "scaleMetricType": "Value",
    "autoScaling": {
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ]
    },
    "containerConcurrency": 5,
    "timeout": 60,
    "canaryTrafficPercent": 10,
    "logger": {"mode": "all", "url": "http://collector"},
    "batcher": {"maxBatchSize": 32},
    "labels": {"team": "blue"},
    "annotations": {"team": "blue"},
    "deploymentStrategy": {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"},
    },
}

_TERM = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
POD: dict[str, Any] = {
    "activeDeadlineSeconds": 60,
    "affinity": {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_TERM]}}
    },
    "automountServiceAccountToken": True,
    "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
    "dnsPolicy": "Default",
    "enableServiceLinks": True,
    "ephemeralContainers": [{"name": "debug", "image": "debug:1"}],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["hub"]}],
    "hostIPC": True,
    "hostNetwork": True,
    "hostPID": True,
    "hostUsers": False,
    "hostname": "llm",
    "hostnameOverride": "llm",
    "imagePullSecrets": [{"name": "registry"}],
    "initContainers": [{"name": "prepare", "image": "prepare:1"}],
    "nodeName": "node-1",
    "nodeSelector": {"pool": "gpu"},
    "os": {"name": "linux"},
    "overhead": {"cpu": "1"},
    "preemptionPolicy": "Never",
    "priority": 7,
    "priorityClassName": "high",
    "readinessGates": [{"conditionType": "example.com/fed"}],
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}],
    "resources": {"limits": {"cpu": "4"}},
    "restartPolicy": "Never",
    "runtimeClassName": "kata",
    "schedulerName": "mine",
    "schedulingGates": [{"name": "example.com/paid"}],
    "securityContext": {"supplementalGroups": [7]},
    "serviceAccount": "reader",
    "serviceAccountName": "reader",
    "setHostnameAsFQDN": True,
    "shareProcessNamespace": True,
    "subdomain": "llms",
    "terminationGracePeriodSeconds": 7,
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}],
}

CONTAINER: dict[str, Any] = {
    "args": ["--model_id=org/model"],
    "command": ["serve"],
    "env": [{"name": "A", "value": "b"}],
    "envFrom": [{"secretRef": {"name": "token"}}],
    "image": "mine:1",
    "imagePullPolicy": "Always",
    "lifecycle": {"postStart": {"exec": {"command": ["true"]}}},
    "livenessProbe": {"httpGet": {"path": "/alive", "port": 8080}},
    "name": "mine",
    "ports": [{"containerPort": 9000, "name": "more", "protocol": "TCP"}],
    "readinessProbe": {"httpGet": {"path": "/loaded", "port": 8080}},
    "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
    "resources": {"limits": {"nvidia.com/gpu": "1"}},
    "restartPolicy": "Always",
    "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
    "securityContext": {"runAsUser": 1000},
    "startupProbe": {"httpGet": {"path": "/loaded", "port": 8080}, "failureThreshold": 9},
    "stdin": True,
    "stdinOnce": True,
    "terminationMessagePath": "/tmp/end",
    "terminationMessagePolicy": "File",
    "tty": True,
    "volumeDevices": [{"devicePath": "/dev/weights", "name": "weights"}],
    "volumeMounts": [{"mountPath": "/more", "name": "tmp"}],
    "workingDir": "/tmp",
}

METADATA: dict[str, str] = {
    "serving.kserve.io/deploymentMode": "Serverless",
    "serving.kserve.io/autoscalerClass": "keda",
    "networking.kserve.io/visibility": "cluster-local",
    "networking.knative.dev/visibility": "cluster-local",
}

# Of rows about some values only: one that is nothing to speak of.
HARMLESS: dict[str, Any] = {
    "minReplicas": 2,
    "maxReplicas": 1,
    "restartPolicy": "Always",
    "name": "kserve-container",
    "serving.kserve.io/deploymentMode": "RawDeployment",
    "serving.kserve.io/autoscalerClass": "external",
    "networking.kserve.io/visibility": "all",
    "networking.knative.dev/visibility": "all",
}
