"""Tiny models of many architectures with random weights, all with the same vocabulary."""

from __future__ import annotations

from typing import Any

import torch

_SIZES: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.5,  # so that its choices are clear ones
}
_HEADS = {**_SIZES, "head_dim": 8}
_WINDOW = {"sliding_window": 8}
_OLDER = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 256, "initializer_range": 0.5}

TOGETHER: dict[str, dict[str, Any]] = {
    "llama": _SIZES,
    "qwen2": _SIZES,
    "qwen3": _HEADS,
    "mistral": {**_SIZES, **_WINDOW},
    "gemma": _HEADS,
    "gemma2": {**_HEADS, **_WINDOW, "query_pre_attn_scalar": 8},  # soft caps
    "gemma3_text": {**_HEADS, **_WINDOW, "query_pre_attn_scalar": 8},
    "gpt2": _OLDER,
    "gpt_neox": {name: value for name, value in _SIZES.items() if name != "num_key_value_heads"},
    "opt": {**_SIZES, "ffn_dim": 32, "word_embed_proj_dim": 32, "init_std": 0.5},
    "mixtral": {**_SIZES, "num_local_experts": 4},
    "gpt_oss": {  # sinks
        **_HEADS, **_WINDOW, "num_local_experts": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    },
    "deepseek_v3": {
        **_SIZES, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8, "v_head_dim": 8, "n_routed_experts": 4, "moe_intermediate_size": 16,
        "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2,
    },
}  # fmt: skip
"""Several answers in one call of the model."""

ONE_AT_A_TIME: dict[str, dict[str, Any]] = {
    "mamba": {"num_hidden_layers": 2, "hidden_size": 32, "state_size": 4, "initializer_range": 0.5},
    "recurrent_gemma": {
        **_SIZES, "num_hidden_layers": 3, "num_key_value_heads": 1, "attention_window_size": 8,
        "lru_width": 32,
    },
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 4, "initializer_range": 0.5},
    "codegen": {**_OLDER, "rotary_dim": 4, "n_ctx": 256},
}  # fmt: skip
"""States, or an attention that cannot be replaced."""


def tiny_model(kind: str, vocabulary: int, **changes: Any) -> Any:
    """A model in float32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {**TOGETHER, **ONE_AT_A_TIME}[kind]
    ends = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, **{**ends, **sizes, **changes})
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
