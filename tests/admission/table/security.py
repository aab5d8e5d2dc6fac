"""What lets a pod do more than serve: the policy stops it, and the webhook where there is no policy.

The valid neighbour of each is also the same object in a trusted namespace.
"""

from __future__ import annotations

from typing import Any

from stoker.serving.admission import security
from tests.admission.table.objects import Object, args, isvc, model, own, runtime
from tests.admission.table.services import Row

_P = "spec.predictor"
_M = "spec.predictor.model"


def _env(name: str) -> Object:
    return model(env=[{"name": name, "value": "x"}])


def _context(**fields: Any) -> Object:
    return model(securityContext=fields)


_VALUES = {"http_port": "1", "port": "1"}
_FLAGS: list[Row] = [
    (
        f"flag {name}",
        "policy",
        f"{_M}.args[1]",
        security.FLAGS[name],
        args(f"--{name}={_VALUES.get(name, 'x')}"),
        args("--seed=1"),
    )
    for name in sorted(security.FLAGS)
    if name != "trust_remote_code"
]
_VARIABLES: list[Row] = [
    (f"variable {name}", "policy", f"{_M}.env[0].name", name, _env(name), _env(f"MY_{name}"))
    for name in sorted(security.ENV)
]
ROWS: list[Row] = [
    (
        "code of the model",
        "policy",
        f"{_M}.args[1]",
        "runs code that comes with the model",
        args("--trust_remote_code"),
        args("--trust_remote_code=false"),
    ),
    (
        "code of the model, with dashes",
        "policy",
        f"{_M}.args[1]",
        "runs code",
        args("--trust-remote-code"),
        args("--trust-remote-code=false"),
    ),
    (
        "code of the model, abbreviated",
        "policy",
        f"{_M}.args[1]",
        "runs code",
        args("--trust-rem"),
        args("--seed=1"),
    ),
    (
        "code of the model, apart",
        "policy",
        f"{_M}.args[1]",
        "runs code",
        args("--trust_remote_code", "true"),
        args("--seed", "1"),
    ),
    *_FLAGS,
    *_VARIABLES,
    (
        "interpreter of a container of one's own",
        "policy",
        f"{_P}.containers[0].env[0].name",
        "PYTHONPATH",
        own(env=[{"name": "PYTHONPATH", "value": "/x"}]),
        own(env=[{"name": "PYTHONUNBUFFERED", "value": "1"}]),
    ),
    (
        "interpreter of an init container",
        "policy",
        f"{_P}.initContainers[0].env[0].name",
        "LD_PRELOAD",
        isvc(initContainers=[{"name": "a", "image": "a", "env": [{"name": "LD_PRELOAD", "value": "x"}]}]),
        isvc(initContainers=[{"name": "a", "image": "a", "env": [{"name": "A", "value": "x"}]}]),
    ),
    (
        "files of the node",
        "policy",
        f"{_P}.volumes[0].hostPath",
        "files",
        isvc(volumes=[{"name": "a", "hostPath": {"path": "/"}}]),
        isvc(volumes=[{"name": "a", "emptyDir": {}}]),
    ),
    (
        "network of the node",
        "policy",
        f"{_P}.hostNetwork",
        "shares the node",
        isvc(hostNetwork=True),
        isvc(hostNetwork=False),
    ),
    (
        "processes of the node",
        "policy",
        f"{_P}.hostPID",
        "shares the node",
        isvc(hostPID=True),
        isvc(hostPID=False),
    ),
    (
        "memory of the node",
        "policy",
        f"{_P}.hostIPC",
        "shares the node",
        isvc(hostIPC=True),
        isvc(hostIPC=False),
    ),
    (
        "port of the node",
        "policy",
        f"{_M}.ports[0].hostPort",
        "port of the node",
        model(ports=[{"containerPort": 80, "hostPort": 80}]),
        model(ports=[{"containerPort": 80}]),
    ),
    (
        "root on the node",
        "policy",
        f"{_M}.securityContext.privileged",
        "root on the node",
        _context(privileged=True),
        _context(privileged=False),
    ),
    (
        "root on the node, in an init container",
        "policy",
        f"{_P}.initContainers[0].securityContext.privileged",
        "root on the node",
        isvc(initContainers=[{"name": "a", "image": "a", "securityContext": {"privileged": True}}]),
        isvc(initContainers=[{"name": "a", "image": "a", "securityContext": {"privileged": False}}]),
    ),
    (
        "capability",
        "policy",
        f"{_M}.securityContext.capabilities.add[0]",
        "SYS_ADMIN",
        _context(capabilities={"add": ["SYS_ADMIN"]}, allowPrivilegeEscalation=True),
        _context(capabilities={"add": ["CHOWN"]}),
    ),
    (
        "settings of the kernel",
        "policy",
        f"{_M}.securityContext.procMount",
        "kernel settings",
        _context(procMount="Unmasked"),
        _context(procMount="Default"),
    ),
    (
        "all system calls",
        "policy",
        f"{_M}.securityContext.seccompProfile.type",
        "system calls",
        _context(seccompProfile={"type": "Unconfined"}),
        _context(seccompProfile={"type": "RuntimeDefault"}),
    ),
    (
        "all system calls, for the pod",
        "policy",
        f"{_P}.securityContext.seccompProfile.type",
        "system calls",
        isvc(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        isvc(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
    ),
    (
        "runtime on the node's network",
        "policy",
        "spec.hostNetwork",
        "shares the node",
        runtime(hostNetwork=True),
        runtime(),
    ),
    (
        "runtime with the node's files",
        "policy",
        "spec.volumes[0].hostPath",
        "files",
        runtime(volumes=[{"name": "a", "hostPath": {"path": "/"}}]),
        runtime(volumes=[{"name": "a"}]),
    ),
    (
        "runtime that is root on the node",
        "policy",
        "spec.containers[0].securityContext.privileged",
        "root on the node",
        runtime(container={"securityContext": {"privileged": True}}),
        runtime(container={"securityContext": {"privileged": False}}),
    ),
    (
        "runtime that changes its interpreter",
        "policy",
        "spec.containers[0].env[0].name",
        "LD_PRELOAD",
        runtime(container={"env": [{"name": "LD_PRELOAD", "value": "x"}]}),
        runtime(container={"env": [{"name": "A", "value": "x"}]}),
    ),
]
