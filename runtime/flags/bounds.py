"""What bounds requests and connections: one flag for each limit, with its default.

docs/limits.md has a row for each; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.flags.kinds import AMOUNT, COUNT, HOLD, SECONDS, SIZE, Flag
from runtime.state import BackendName

KIB, MIB = 1024, 1024 * 1024

BOUNDS: tuple[Flag, ...] = (
    # The bytes of a request.
    Flag("max_header_line_bytes", COUNT, "Longest line of a request's head.", 8190),
    Flag("max_headers", COUNT, "Most header lines of a request.", 128),
    Flag("max_header_bytes", SIZE, "Largest head of a request, all lines together.", 32 * KIB),
    Flag("max_body_bytes", SIZE, "Largest request body.", 2 * MIB),
    Flag("head_seconds", SECONDS, "How long a new connection may take until its first request.", 10.0),
    Flag("body_read_seconds", SECONDS, "How long a body may take to arrive.", 10.0),
    Flag("body_idle_seconds", SECONDS, "How long nothing of a body may arrive.", 5.0),
    Flag("max_connections", COUNT, "Open connections; more are answered 503 and closed.", 1024),
    Flag(
        "max_connections_per_address",
        AMOUNT,
        "Of them from one address; 0: no bound of its own, as behind a proxy all come from one.",
        0,
    ),
    # What a request asks for.
    Flag("max_json_depth", COUNT, "Deepest nesting of a body's JSON.", 32),
    Flag("max_json_keys", COUNT, "Most keys in a body's JSON.", 10_000),
    Flag("max_messages", COUNT, "Messages of a chat.", 1024),
    Flag("max_content_parts", COUNT, "Parts of one message's content.", 4096),
    Flag("max_prompts", COUNT, "Prompts of one completion or embedding.", 16),
    Flag("max_n", COUNT, "Choices (`n`) for one prompt.", 4),
    Flag("max_sequences_per_request", COUNT, "Prompts x n of one request.", 16),
    Flag("max_stop_strings", COUNT, "Stop strings of one request.", 4),
    Flag("max_stop_bytes", COUNT, "Longest stop string, in bytes of UTF-8.", 256),
    Flag("max_stop_token_ids", COUNT, "Stop token ids of one request.", 64),
    Flag("max_logit_bias", COUNT, "Tokens with a `logit_bias`.", 300),
    Flag("max_top_logprobs", COUNT, "Log probabilities for one token.", 20),
    Flag(
        "max_prompt_logprobs",
        SIZE,
        "Log probabilities of prompts in one answer: tokens x n x (logprobs + 1).",
        32 * KIB,
    ),
    Flag("max_tools", COUNT, "Tools of one chat.", 128),
    Flag("max_schema_bytes", SIZE, "Largest JSON Schema of a response_format or a tool.", 32 * KIB),
    Flag("max_output_tokens", COUNT, "Most tokens of one answer. Default: what the context leaves."),
    Flag("max_characters_per_token", COUNT, "Text longer than this x max_model_len is not tokenised.", 8),
    Flag("tokenize_seconds", SECONDS, "How long a prompt may take to become tokens.", 5.0),
    Flag("template_seconds", SECONDS, "Processor time that a chat template may take for one chat.", 1.0),
    Flag("max_template_characters", SIZE, "Longest text that a chat template may make.", 4 * MIB),
    Flag(
        "grammar_seconds",
        COUNT,
        "Processor seconds that making the grammar of one JSON Schema may take.",
        10,
        backends=frozenset({BackendName.HUGGINGFACE}),
    ),
    # What is worked on.
    Flag("max_concurrent_sequences", COUNT, "Sequences running or queued; more are answered 429.", 256),
    Flag(
        "max_waiting_tokens",
        SIZE,
        "Prompt tokens of sequences that have no token yet; more are answered 429, unless none wait.",
        128 * KIB,
    ),
    Flag("queue_seconds", SECONDS, "How long a sequence may wait for its first token; 0: no bound.", 60.0),
    Flag("request_seconds", SECONDS, "How long a whole request may take; 0: no bound.", 300.0),
    Flag("write_timeout_seconds", SECONDS, "How long one write to a reader that stalls may take.", 30.0),
    Flag(
        "hold_seconds",
        HOLD,
        "How long tokens of streams wait for more under load, so that several go out in a chunk; 0: never.",
        0.018,
    ),
    Flag("keep_alive_seconds", SECONDS, "After how long a silent stream gets a comment; 0: never.", 15.0),
    Flag(
        "unready_seconds",
        SECONDS,
        "How long the engine may make no step while it has work, until /ready is 503. Default: 20; 120 on a "
        "CPU.",
    ),
    Flag("unlive_seconds", SECONDS, "The same until /live is 503, for a restart. Default: 60; 600 on a CPU."),
    Flag("key_tokens_per_minute", AMOUNT, "Tokens per minute for each API key; 0: no bound.", 0),
)


@dataclass(frozen=True)
class Bounds:
    """The values of BOUNDS by name. Bytes, seconds, counts; None: no bound, or the device's."""

    max_header_line_bytes: int
    max_headers: int
    max_header_bytes: int
    max_body_bytes: int
    head_seconds: float
    body_read_seconds: float
    body_idle_seconds: float
    max_connections: int
    max_connections_per_address: int
    max_json_depth: int
    max_json_keys: int
    max_messages: int
    max_content_parts: int
    max_prompts: int
    max_n: int
    max_sequences_per_request: int
    max_stop_strings: int
    max_stop_bytes: int
    max_stop_token_ids: int
    max_logit_bias: int
    max_top_logprobs: int
    max_prompt_logprobs: int
    max_tools: int
    max_schema_bytes: int
    max_output_tokens: int | None
    max_characters_per_token: int
    tokenize_seconds: float
    template_seconds: float
    max_template_characters: int
    grammar_seconds: int
    max_concurrent_sequences: int
    max_waiting_tokens: int
    queue_seconds: float
    request_seconds: float
    write_timeout_seconds: float
    hold_seconds: float
    keep_alive_seconds: float
    unready_seconds: float | None
    unlive_seconds: float | None
    key_tokens_per_minute: int
