"""What lets a pod do more than serve its model: refused unless the namespace is trusted.

The same lists stand in manifests/policy, which holds where the webhook does not; a test compares the two.
The level of a namespace is its label stoker.dev/security, else the setting `security`. In a `trusted` one
everything of this is allowed. Runtimes of the cluster are their administrators' and never judged by it.

The pod's part follows Pod Security's level `baseline`. Flags are judged where the runtime's own image runs:
an image that the user brings can hold any code anyway, and so can the image that a ServingRuntime names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from stoker.serving import names
from stoker.serving.admission import indirection
from stoker.serving.api.fields import LEGACY_FORMATS
from stoker.serving.api.reading import objects
from stoker.serving.problems import FieldProblem, child, forbidden
from stoker.serving.rendering.arguments import parse_flags
from stoker.serving.settings import Settings

# By name with "_"; what each would open.
FLAGS: Mapping[str, str] = {
    "trust_remote_code": "runs code that comes with the model",
    "allow_pickle": "loads weights that can run code",
    "tool_parser_plugin": "imports a file",
    "reasoning_parser_plugin": "imports a file",
    "io_processor_plugin": "loads a plugin",
    "middleware": "imports code into the server",
    "logits_processors": "imports code",
    "logits_processor_pattern": "lets requests name code to import",
    "scheduler_cls": "imports code",
    "worker_cls": "imports code",
    "worker_extension_cls": "imports code",
    "model_class_overrides": "imports code",
    "config": "hides flags in a file",
    "log_config_file": "can start any class",
    "logging_config": "can start any class",
    "profiler_config": "lets requests write traces",
    "weight_transfer_config": "lets requests replace the weights",
    "enable_mm_embeds": "lets requests bring tensors, which can crash the server",
    "enable_prompt_embeds": "lets requests bring tensors, which can crash the server",
    "allowed_local_media_path": "lets requests read the container's files",
    "api_key": "command lines are public: give keys from a Secret",
    "hf_token": "command lines are public: give HF_TOKEN from a Secret",
    "host": "probes and the gateway ask the pod's address",
    "port": "probes and the gateway ask the port of the runtime",
    "http_host": "probes and the gateway ask the pod's address",
    "http_port": "probes and the gateway ask the port of the runtime",
}
# argparse takes the beginning of a flag for the whole where nothing else begins so.
PREFIX = "trust"
_OFF = frozenset({"false", "0", "no", "off"})

ENV: frozenset[str] = frozenset(
    """
    BASH_ENV GCONV_PATH LD_AUDIT LD_LIBRARY_PATH LD_PRELOAD PATH
    PYTHONBREAKPOINT PYTHONEXECUTABLE PYTHONHOME PYTHONINSPECT PYTHONPATH PYTHONPLATLIBDIR PYTHONSTARTUP
    PYTHONUSERBASE PYTHONWARNINGS STOKER_ALLOW_PICKLE TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD
    VLLM_ALLOW_INSECURE_SERIALIZATION VLLM_ALLOW_RUNTIME_LORA_UPDATING VLLM_API_KEY VLLM_HOST_IP
    VLLM_LOGGING_CONFIG_PATH VLLM_NCCL_SO_PATH VLLM_PLUGINS VLLM_PORT VLLM_SERVER_DEV_MODE
    VLLM_TORCH_PROFILER_DIR
    """.split()  # noqa: SIM905
)
CAPABILITIES: frozenset[str] = frozenset(
    """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID
    SYS_CHROOT
    """.split()  # noqa: SIM905
)
_HOST = ("hostIPC", "hostNetwork", "hostPID")

Found = Iterator[FieldProblem]


def restricted(namespace_labels: Mapping[str, str], settings: Settings) -> bool:
    """Whether the rules here hold in a namespace."""
    return namespace_labels.get(names.SECURITY_LABEL, settings.security) != "trusted"


def of_predictor(predictor: Mapping[str, Any]) -> Found:
    """`spec.predictor` as it was written."""
    path = "spec.predictor"
    for name in ("model", *LEGACY_FORMATS):
        model = predictor.get(name)
        if isinstance(model, dict):
            yield from _container(model, child(path, name))
            if not model.get("image"):
                yield from _flags(model.get("command"), child(path, name, "command"))
                yield from _flags(model.get("args"), child(path, name, "args"))
                yield from _words(model.get("args"), child(path, name, "args"))
    yield from of_pod(predictor, path)


def of_pod(spec: Mapping[str, Any], path: str) -> Found:
    """The fields of a PodSpec: a predictor's or a runtime's."""
    for name in _HOST:
        if spec.get(name) is True:
            yield _refused(child(path, name), "shares the node with the pod")
    for number, volume in objects(spec.get("volumes")):
        if volume.get("hostPath") is not None:
            where = child(path, "volumes", number, "hostPath")
            yield _refused(where, "opens the node's files to the pod", volume["hostPath"])
    yield from _context(spec.get("securityContext"), child(path, "securityContext"))
    for kind in ("containers", "initContainers"):
        for number, container in objects(spec.get(kind)):
            yield from _container(container, child(path, kind, number))


def _container(container: Mapping[str, Any], path: str) -> Found:
    for number, variable in objects(container.get("env")):
        name = variable.get("name")
        where = child(path, "env", number, "name")
        if isinstance(name, str) and name in ENV:
            yield _refused(where, f"{name} changes which code runs or who may steer it", variable)
        elif indirection.free(name):
            yield _refused(where, f"{name} may become any variable: write its name out", variable)
    for number, port in objects(container.get("ports")):
        if port.get("hostPort"):
            where = child(path, "ports", number, "hostPort")
            yield _refused(where, "takes a port of the node", port["hostPort"])
    for problem in _context(container.get("securityContext"), child(path, "securityContext")):
        yield replace(problem, about=str(container.get("name", "")))


def _context(context: Any, path: str) -> Found:
    if not isinstance(context, dict):
        return
    if context.get("privileged") is True:
        yield _refused(child(path, "privileged"), "is root on the node")
    mount, filtered = context.get("procMount"), _mapping(context.get("seccompProfile")).get("type")
    if mount == "Unmasked" or indirection.free(mount):
        yield _refused(child(path, "procMount"), "opens the node's kernel settings")
    if filtered == "Unconfined" or indirection.free(filtered):
        yield _refused(child(path, "seccompProfile", "type"), "lifts the filter of system calls")
    added = _mapping(context.get("capabilities")).get("add")
    for number, name in enumerate(added if isinstance(added, list) else []):
        if isinstance(name, str) and name not in CAPABILITIES:
            yield _refused(child(path, "capabilities", "add", number), f"{name} reaches beyond the pod")


def _flags(args: Any, path: str) -> Found:
    for flag in parse_flags(_strings(args)):
        name = flag.name.lower().partition(".")[0]
        what: str | None = FLAGS.get("trust_remote_code" if name.startswith(PREFIX) else name)
        if what is not None and flag.written.startswith("--"):
            if not (flag.inline and flag.values[0].lower() in _OFF):
                yield _refused(child(path, flag.index), f"{flag.written}: {what}", flag.words())
        elif brought := indirection.code(flag):
            yield _refused(child(path, flag.index), f"{flag.written}: {brought}", flag.words())


def _words(args: Any, path: str) -> Found:
    words = _strings(args)
    for number, what in indirection.words(words):
        yield _refused(child(path, number), what, words[number])


def _strings(args: Any) -> list[str]:
    return args if isinstance(args, list) and all(isinstance(each, str) for each in args) else []


def _refused(path: str, what: str, about: Any = "") -> FieldProblem:
    """`about`: the value, where an update may put another one, as bad, into its place."""
    shown = json.dumps(about, sort_keys=True, default=str) if about else ""
    return replace(forbidden(path, f"{what}; {NEEDS}"), about=shown)


NEEDS = f"needs a namespace with the label {names.SECURITY_LABEL}: trusted"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
