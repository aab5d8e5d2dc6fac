"""Flags of KServe's servers that people bring along.

Those that ask for what this server does anyway, or does not have, are taken with the values that say so; any
other value is refused with the reason. Those that tune KServe's own process are taken and reported as without
effect when the server starts.
"""

from __future__ import annotations

from runtime.flags.kinds import TEXT, TRUTH, Flag, only

_ENCODERS = "for encoder models, which this server does not serve"
_NO_GRPC = "this server speaks HTTP only"
_NO_PREDICTOR = "there is no transformer in front of a predictor here"


def _never(name: str, why: str) -> Flag:
    return Flag(name, only(False, TRUTH, why), f"KServe's. Only false: {why}.", False)


KSERVE: tuple[Flag, ...] = (
    Flag(
        "workers",
        only(1, TEXT, "one process serves; raise the InferenceService's minReplicas"),
        "KServe's. Only 1: one process serves.",
        1,
    ),
    _never("enable_grpc", _NO_GRPC),
    _never("enable_docs_url", "there are no pages about the API"),
    _never("enable_latency_logging", "the access log has each request's seconds"),
    _never("predictor_use_ssl", _NO_PREDICTOR),
    _never("enable_predictor_health_check", _NO_PREDICTOR),
    _never("disable_lower_case", _ENCODERS),
    _never("disable_special_tokens", "completions add the tokenizer's special tokens, as vLLM does"),
    _never("return_token_type_ids", _ENCODERS),
    _never("return_offsets_mapping", _ENCODERS),
    _never("return_probabilities", _ENCODERS),
    _never("return_raw_logits", _ENCODERS),
    *(
        Flag(name, TEXT, "KServe's. Taken, without effect here.")
        for name in (
            "grpc_port",
            "max_threads",
            "max_asyncio_workers",
            "configure_logging",
            "log_config_file",
            "access_log_format",
            "event_loop",
            "predictor_host",
            "protocol",
            "predictor_protocol",
            "predictor_request_timeout_seconds",
            "predictor_request_retries",
            "grpc_max_send_message_length",
            "grpc_max_receive_message_length",
            "tensor_input_names",
            "max_log_len",
        )
    ),
)
WITHOUT_EFFECT = frozenset(flag.name for flag in KSERVE if flag.default is None)
