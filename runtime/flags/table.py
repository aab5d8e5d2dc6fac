"""Our own flags: one row each. Names are written with `_`; `-` means the same everywhere."""

from __future__ import annotations

from runtime.flags.bounds import BOUNDS
from runtime.flags.kinds import (
    COUNT,
    ECHO,
    LENGTH,
    MODELS,
    NAME,
    PORT,
    SECONDS,
    SIZE,
    TEXT,
    TEXTS,
    TRUTH,
    WHOLE,
    Flag,
)
from runtime.flags.kserve import KSERVE

DTYPES = ("auto", "bfloat16", "float", "float16", "float32", "half")
TASKS = ("text_generation", "text_embedding")

FLAGS: tuple[Flag, ...] = (
    Flag("model_name", NAME, "Name of the model in requests. Default: the model id."),
    Flag("served_model_name", TEXTS, "Further names that requests may use.", ()),
    Flag("model_id", NAME, "Model on the hub (ORG/NAME) or a directory."),
    Flag("model_dir", NAME, "Directory of the model where there is no --model_id.", "/mnt/models"),
    Flag(
        "storage_uri",
        NAME,
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
    Flag("chat_template", NAME, "File with a Jinja chat template. Default: the model's.", backends=MODELS),
    Flag("max_num_seqs", COUNT, "Sequences generated at the same time. Default: by backend and device."),
    Flag(
        "kv_cache_memory_bytes",
        SIZE,
        "Memory for keys and values. Default: what the device or the container's memory limit allows.",
        backends=MODELS,
    ),
    Flag("seed", WHOLE, "Seed of requests that bring none. Default: random.", backends=MODELS),
    Flag("http_port", PORT, "Port of the HTTP server; 0 takes any free one.", 8080),
    Flag("http_host", TEXT, "Address to listen on.", "0.0.0.0"),
    Flag(
        "timeout_keep_alive",
        SECONDS,
        "How long an idle connection stays open; longer than proxies keep theirs, so that they close first.",
        75.0,
    ),
    Flag("api_keys_file", TEXT, "File with `NAME: KEY` lines; requests then need one of the keys."),
    Flag(
        "tool_call_parser",
        TEXT,
        "Form of the model's tool calls. auto: as its chat template shows.",
        "auto",
        ("auto", "hermes", "llama3_json"),
    ),
    Flag("lame_duck_seconds", SECONDS, "After SIGTERM: how long new requests are still served.", 5.0),
    Flag("drain_seconds", SECONDS, "After that: how long streams may still finish.", 120.0),
    Flag("log_format", TEXT, "auto: console on a terminal, else json.", "auto", ("auto", "json", "console")),
    Flag("disable_log_requests", TRUTH, "Write no access log. Prompts and answers are never logged.", False),
    Flag("echo_token_seconds", SECONDS, "Time between tokens of the echo engine.", 0.0, backends=ECHO),
    Flag("echo_load_seconds", SECONDS, "Time the echo engine takes to load.", 0.0, backends=ECHO),
    *BOUNDS,
    *KSERVE,
)
BY_NAME: dict[str, Flag] = {flag.name: flag for flag in FLAGS}

# Other spellings of ours.
ALIASES: dict[str, str] = {"max_length": "max_model_len"}

# Flags that people bring along from vLLM or KServe and what to write instead.
INSTEAD: dict[str, str] = {
    "model": "use --model_id",
    "model_tag": "use --model_id",
    "revision": "use --model_revision",
    "port": "use --http_port",
    "host": "use --http_host",
    "download_dir": "set the environment variable HF_HUB_CACHE",
    "hf_token": "give the container HF_TOKEN from a Secret; command lines are public",
    "skip_tokenizer_init": "the server needs the model's tokenizer",
    "disable_log_stats": "the server's metrics come from the engine's statistics",
    "enable_auto_tool_choice": "leave it out: tools are answered where the model's chat template knows them; "
    "--tool_call_parser names the form of its calls",
    "enable_log_requests": "prompts are never logged; the access log has one line for each request",
}
