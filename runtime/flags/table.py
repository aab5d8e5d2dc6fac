"""Our own flags: one row each. Names are written with `_`; `-` means the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.state import BackendName

ALL = frozenset(BackendName)
MODELS = frozenset({BackendName.VLLM, BackendName.HUGGINGFACE})
ECHO = frozenset({BackendName.ECHO})

_MULTIPLES = {
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True)
class Kind:
    """What a flag's text means: how it is read, how a schema says it, how it is named in messages."""

    read: Callable[[str], Any]
    schema: dict[str, Any]
    noun: str


def truth(text: str) -> bool:
    """Reads true/false, 1/0, yes/no, on/off."""
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(text)
    return lowered in _TRUE


def length(text: str) -> int:
    """Reads a whole number as vLLM does: 4096, 16k (thousands), 16K (1024s); "auto" and -1 are -1."""
    if text.strip().lower() in ("auto", "-1"):
        return -1
    match = re.fullmatch(r"\s*(\d+)([kmgtKMGT]?)\s*", text)
    if match is None:
        raise ValueError(text)
    value = int(match[1]) * _MULTIPLES.get(match[2], 1)
    if value < 1:
        raise ValueError(text)
    return value


def _at_least(
    kind: type[int] | type[float], lowest: float, highest: float | None = None
) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not value >= lowest or (highest is not None and value > highest):
            raise ValueError(text)
        return value

    return read


TEXT = Kind(str, {"type": "string"}, "text")
TEXTS = Kind(str, {"type": "array", "items": {"type": "string"}}, "text")
TRUTH = Kind(truth, {"type": "boolean"}, "true or false")
LENGTH = Kind(length, {"type": ["integer", "string"]}, 'a whole number such as 4096 or 16k, or "auto"')
WHOLE = Kind(int, {"type": "integer"}, "a whole number")
COUNT = Kind(_at_least(int, 1), {"type": "integer", "minimum": 1}, "a whole number of at least 1")
PORT = Kind(
    _at_least(int, 0, 65535), {"type": "integer", "minimum": 0, "maximum": 65535}, "a port, 0 to 65535"
)
SECONDS = Kind(_at_least(float, 0), {"type": "number", "minimum": 0}, "seconds, 0 or more")


@dataclass(frozen=True)
class Flag:
    """One flag of ours. `backends` are those on which it means something; elsewhere it is refused."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    backends: frozenset[BackendName] = ALL


DTYPES = ("auto", "bfloat16", "float", "float16", "float32", "half")
TASKS = ("text_generation",)

FLAGS: tuple[Flag, ...] = (
    Flag("model_name", TEXT, "Name of the model in requests. Default: the model id."),
    Flag("served_model_name", TEXTS, "Further names that requests may use.", ()),
    Flag("model_id", TEXT, "Model on the hub (ORG/NAME) or a directory."),
    Flag("model_dir", TEXT, "Directory of the model where there is no --model_id.", "/mnt/models"),
    Flag(
        "storage_uri",
        TEXT,
        "Where the model comes from in place of --model_id: hf://OWNER/MODEL:REVISION, s3://BUCKET/PREFIX; "
        "pvc:// and file:// name what is mounted at --model_dir.",
    ),
    Flag(
        "allow_pickle",
        TRUTH,
        "Load pickled weights where there are no safetensors: runs code in them.",
        False,
    ),
    Flag("model_revision", TEXT, "Branch, tag or commit of the model. Default: main."),
    Flag("tokenizer", TEXT, "Tokenizer on the hub or in a directory. Default: the model's.", backends=MODELS),
    Flag(
        "tokenizer_revision",
        TEXT,
        "Branch, tag or commit of the tokenizer. Default: the model's.",
        backends=MODELS,
    ),
    Flag(
        "backend",
        TEXT,
        "Engine. auto: vLLM, or transformers where vLLM is not installed or cannot serve the model.",
        "auto",
        ("auto", "vllm", "huggingface", "echo"),
    ),
    Flag("task", TEXT, "What the model is for.", "text_generation", TASKS),
    Flag("max_model_len", LENGTH, "Longest prompt and answer together, in tokens. Default: the model's."),
    Flag(
        "dtype",
        TEXT,
        "Type of weights and arithmetic. auto: as the model says.",
        "auto",
        DTYPES,
        backends=MODELS,
    ),
    Flag("trust_remote_code", TRUTH, "Run Python code that comes with the model.", False, backends=MODELS),
    Flag("chat_template", TEXT, "File with a Jinja chat template. Default: the model's.", backends=MODELS),
    Flag("max_num_seqs", COUNT, "Sequences generated at the same time. Default: by backend and device."),
    Flag("seed", WHOLE, "Seed of requests that bring none. Default: random.", backends=MODELS),
    Flag("http_port", PORT, "Port of the HTTP server; 0 takes any free one.", 8080),
    Flag("http_host", TEXT, "Address to listen on.", "0.0.0.0"),
    Flag("max_concurrent_sequences", COUNT, "Sequences running or queued; more are answered 429.", 256),
    Flag("max_sequences_per_request", COUNT, "Prompts x n of one request.", 16),
    Flag("max_body_bytes", LENGTH, "Largest request body.", 2 * 1024 * 1024),
    Flag("write_timeout_seconds", SECONDS, "How long one write to a reader that stalls may take.", 30.0),
    Flag("lame_duck_seconds", SECONDS, "After SIGTERM: how long new requests are still served.", 5.0),
    Flag("drain_seconds", SECONDS, "After that: how long streams may still finish.", 120.0),
    Flag("log_format", TEXT, "auto: console on a terminal, else json.", "auto", ("auto", "json", "console")),
    Flag("disable_log_requests", TRUTH, "Write no access log. Prompts and answers are never logged.", False),
    Flag("echo_token_seconds", SECONDS, "Time between tokens of the echo engine.", 0.0, backends=ECHO),
    Flag("echo_load_seconds", SECONDS, "Time the echo engine takes to load.", 0.0, backends=ECHO),
)
BY_NAME: dict[str, Flag] = {flag.name: flag for flag in FLAGS}

# Flags that people bring along from vLLM or KServe and what to write instead.
INSTEAD: dict[str, str] = {
    "model": "use --model_id",
    "model_tag": "use --model_id",
    "revision": "use --model_revision",
    "max_length": "use --max_model_len",
    "port": "use --http_port",
    "host": "use --http_host",
    "download_dir": "set the environment variable HF_HUB_CACHE",
    "hf_token": "give the container HF_TOKEN from a Secret; command lines are public",
    "skip_tokenizer_init": "the server needs the model's tokenizer",
    "disable_log_stats": "the server's metrics come from the engine's statistics",
    "enable_log_requests": "prompts are never logged; the access log has one line for each request",
    "workers": "one process serves; raise the InferenceService's minReplicas",
    "grpc_port": "this server speaks HTTP only",
    "enable_grpc": "this server speaks HTTP only",
}
