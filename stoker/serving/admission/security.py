"""What lets a pod do more than serve its model: refused unless the namespace is trusted.

The same lists stand in manifests/policy, which holds where the webhook does not; a test compares the two.
The level of a namespace is its label stoker.dev/security, else the setting `security`. In a `trusted` one
everything of this is allowed. Runtimes of the cluster are their administrators' and never judged by it.

The pod's part is Pod Security's level `baseline`, in the module of that name; variables and flags are here.
Flags are judged where the runtime's own image runs: an image that the user brings can hold any code anyway,
and so can the image that a ServingRuntime names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving import names
from stoker.serving.admission import baseline, indirection
from stoker.serving.admission.baseline import refused
from stoker.serving.api.fields import LEGACY_FORMATS
from stoker.serving.api.reading import objects
from stoker.serving.problems import FieldProblem, child
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
            yield from _container(model, predictor, child(path, name))
            if not model.get("image"):
                yield from _flags(model.get("command"), child(path, name, "command"))
                yield from _flags(model.get("args"), child(path, name, "args"))
                yield from _words(model.get("args"), child(path, name, "args"))
    yield from of_pod(predictor, path)


def of_pod(spec: Mapping[str, Any], path: str) -> Found:
    """The fields of a PodSpec, and the annotations for its pods: a predictor's or a runtime's."""
    yield from baseline.of_pod(spec, path)
    for kind in ("containers", "initContainers"):
        for number, container in objects(spec.get(kind)):
            yield from _container(container, spec, child(path, kind, number))


def _container(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> Found:
    for number, variable in objects(container.get("env")):
        name = variable.get("name")
        where = child(path, "env", number, "name")
        if isinstance(name, str) and name in ENV:
            yield refused(where, f"{name} changes which code runs or who may steer it", variable)
        elif indirection.free(name):
            yield refused(where, f"{name} may become any variable: write its name out", variable)
    yield from baseline.of_container(container, spec, path)


def _flags(args: Any, path: str) -> Found:
    for flag in parse_flags(_strings(args)):
        name = flag.name.lower().partition(".")[0]
        what: str | None = FLAGS.get("trust_remote_code" if name.startswith(PREFIX) else name)
        if what is not None and flag.written.startswith("--"):
            if not (flag.inline and flag.values[0].lower() in _OFF):
                yield refused(child(path, flag.index), f"{flag.written}: {what}", flag.words())
        elif brought := indirection.code(flag):
            yield refused(child(path, flag.index), f"{flag.written}: {brought}", flag.words())


def _words(args: Any, path: str) -> Found:
    words = _strings(args)
    for number, what in indirection.words(words):
        yield refused(child(path, number), what, words[number])


def _strings(args: Any) -> list[str]:
    return args if isinstance(args, list) and all(isinstance(each, str) for each in args) else []
