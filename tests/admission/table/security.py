"""What lets a pod do more than serve: the policy stops it, and the webhook where there is no policy.

The valid neighbour of each is also the same object in a trusted namespace.
"""

from __future__ import annotations

from typing import Any

from stoker.serving.admission import baseline, security
from tests.admission.table.objects import MODEL_ID, Object, args, isvc, model, own, runtime
from tests.admission.table.services import Row

_P = "spec.predictor"
_M = "spec.predictor.model"


def _env(name: str) -> Object:
    return model(env=[{"name": name, "value": "x"}])


def _context(**fields: Any) -> Object:
    return model(securityContext=fields)


def _asked(kind: str, handler: str, host: str) -> Object:
    probe: Object = {handler: {"port": 8080, "host": host or None}}
    return model(**({"lifecycle": {"preStop": probe}} if kind == "preStop" else {kind: probe}))


def _annotated(value: str) -> Object:
    key = f"{baseline.APPARMOR_PREFIX}kserve-container"
    made = isvc()
    made["spec"]["predictor"]["annotations"] = {key: value}
    return made


def _masked(users: bool) -> Object:
    return isvc(hostUsers=users, model={"securityContext": {"procMount": "Unmasked"}})


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
        "flag out of a variable",
        "webhook",
        f"{_M}.args[2]",
        "could become a flag",
        model(args=[MODEL_ID, "--seed=1", "$(MORE)"], env=[{"name": "MORE", "value": "--trust_remote_code"}]),
        model(args=[MODEL_ID, "--seed=$(SEED)"], env=[{"name": "SEED", "value": "1"}]),
    ),
    (
        "flag out of an annotation",
        "webhook",
        f"{_M}.args[1]",
        "could become a flag",
        isvc(
            model={"args": [MODEL_ID, '{{.Annotations["a/b"]}}']}, annotations={"a/b": "--trust_remote_code"}
        ),
        isvc(
            model={"args": [MODEL_ID, '--served_model_name={{.Annotations["a/b"]}}']},
            annotations={"a/b": "x"},
        ),
    ),
    (
        "flag whose name is filled in",
        "webhook",
        f"{_M}.args[1]",
        "write its name out",
        model(args=[MODEL_ID, "--$(WHICH)=1"], env=[{"name": "WHICH", "value": "api-key"}]),
        args("--seed=1"),
    ),
    (
        "flag in a command",
        "webhook",
        f"{_M}.command[3]",
        "runs code that comes with the model",
        model(command=["python", "-m", "runtime", "--trust_remote_code"]),
        model(command=["python", "-m", "runtime"]),
    ),
    (
        "variable whose name is filled in",
        "webhook",
        f"{_M}.env[0].name",
        "may become any variable",
        isvc(labels={"x": "LD_PRELOAD"}, model={"env": [{"name": "{{.Labels.x}}", "value": "x"}]}),
        isvc(labels={"x": "LD_PRELOAD"}, model={"env": [{"name": "X", "value": "{{.Labels.x}}"}]}),
    ),
    (
        "mount of the kernel that is filled in",
        "webhook",
        f"{_M}.securityContext.procMount",
        "kernel settings",
        isvc(labels={"x": "Unmasked"}, model={"securityContext": {"procMount": "{{.Labels.x}}"}}),
        _context(procMount="Default"),
    ),
    (
        "system calls that are filled in",
        "webhook",
        f"{_M}.securityContext.seccompProfile.type",
        "system calls",
        isvc(
            labels={"x": "Unconfined"},
            model={"securityContext": {"seccompProfile": {"type": "{{.Labels.x}}"}}},
        ),
        _context(seccompProfile={"type": "RuntimeDefault"}),
    ),
    (
        "code in a configuration",
        "webhook",
        f"{_M}.args[1]",
        "reasoning_parser_plugin imports code",
        args('--structured_outputs_config={"reasoning_parser_plugin": "/mnt/x.py"}'),
        args('--structured_outputs_config={"backend": "xgrammar"}'),
    ),
    (
        "code in a configuration, by a dotted key",
        "webhook",
        f"{_M}.args[1]",
        "kv_connector_module_path imports code",
        args("--kv_transfer_config.kv_connector_module_path=evil"),
        args("--kv_transfer_config.kv_connector=NixlConnector", "--kv_transfer_config.kv_role=kv_both"),
    ),
    (
        "compiler of one's own",
        "webhook",
        f"{_M}.args[1]",
        "backend imports code",
        args('--compilation_config={"backend": "evil.compile"}'),
        args('--compilation_config={"backend": "inductor"}'),
    ),
    (
        "configuration that is filled in",
        "webhook",
        f"{_M}.args[1]",
        "cannot be seen",
        model(args=[MODEL_ID, "--kv_transfer_config=$(KV)"], env=[{"name": "KV", "value": "{}"}]),
        args('--kv_transfer_config={"kv_connector": "NixlConnector", "kv_role": "kv_both"}'),
    ),
    (
        "executor of one's own",
        "webhook",
        f"{_M}.args[1]",
        "imports code",
        args("--distributed_executor_backend=evil.Executor"),
        args("--distributed_executor_backend=mp"),
    ),
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
        isvc(volumes=[{"name": "a", "emptyDir": {}, "hostPath": None}]),
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
        "settings of the kernel, with users of the node",
        "policy",
        f"{_M}.securityContext.procMount",
        "kernel settings",
        _masked(users=True),
        _masked(users=False),
    ),
    (
        "setting of the kernel that others share",
        "policy",
        f"{_P}.securityContext.sysctls[0].name",
        "kernel.msgmax",
        isvc(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}),
        isvc(securityContext={"sysctls": [{"name": "net.ipv4.tcp_notsent_lowat", "value": "16384"}]}),
    ),
    (
        "no AppArmor",
        "policy",
        f"{_M}.securityContext.appArmorProfile.type",
        "AppArmor's limits",
        _context(appArmorProfile={"type": "Unconfined"}),
        _context(appArmorProfile={"type": "Localhost", "localhostProfile": "mine"}),
    ),
    (
        "no AppArmor, for the pod",
        "policy",
        f"{_P}.securityContext.appArmorProfile.type",
        "AppArmor's limits",
        isvc(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
        isvc(securityContext={"appArmorProfile": {"type": "RuntimeDefault"}}),
    ),
    (
        "no AppArmor, by an annotation",
        "policy",
        f"{_P}.annotations[{baseline.APPARMOR_PREFIX}kserve-container]",
        "AppArmor's limits",
        _annotated("unconfined"),
        _annotated("runtime/default"),
    ),
    (
        "SELinux type of the node",
        "policy",
        f"{_M}.securityContext.seLinuxOptions.type",
        "spc_t is no type",
        _context(seLinuxOptions={"type": "spc_t"}),
        _context(seLinuxOptions={"type": "container_t", "level": "s0:c123,c456"}),
    ),
    (
        "SELinux user",
        "policy",
        f"{_P}.securityContext.seLinuxOptions.user",
        "SELinux's user",
        isvc(securityContext={"seLinuxOptions": {"user": "sysadm_u"}}),
        isvc(securityContext={"seLinuxOptions": {"type": "container_engine_t"}, "sysctls": None}),
    ),
    (
        "SELinux role",
        "policy",
        f"{_M}.securityContext.seLinuxOptions.role",
        "SELinux's role",
        _context(seLinuxOptions={"role": "sysadm_r"}),
        # What a template leaves empty is null, and nothing.
        _context(
            seLinuxOptions={"level": "s0", "role": None, "type": None, "user": None},
            capabilities={"add": None, "drop": ["ALL"]},
        ),
    ),
    (
        "process of the node",
        "policy",
        f"{_M}.securityContext.windowsOptions.hostProcess",
        "on the node itself",
        _context(windowsOptions={"hostProcess": True}),
        _context(windowsOptions={"hostProcess": False}),
    ),
    *(
        (
            f"{kind} that asks another host, {handler}",
            "policy",
            f"{_M}.{'lifecycle.' if kind == 'preStop' else ''}{kind}.{handler}.host",
            "any address",
            _asked(kind, handler, "169.254.169.254"),
            _asked(kind, handler, ""),
        )
        for kind in ("livenessProbe", "readinessProbe", "startupProbe", "preStop")
        for handler in ("httpGet", "tcpSocket")
    ),
    (
        "runtime whose probe asks another host",
        "policy",
        "spec.containers[0].readinessProbe.tcpSocket.host",
        "any address",
        runtime(container={"readinessProbe": {"tcpSocket": {"port": 80, "host": "example.com"}}}),
        runtime(container={"readinessProbe": {"tcpSocket": {"port": 80}}}),
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
