"""A model so small that the API process, not the engine, is what a measurement measures."""

from __future__ import annotations

import shutil
from pathlib import Path

from runtime.hub import cache as hub_cache
from runtime.hub import stand_in


def real() -> Path:
    """SmolLM2-135M-Instruct, from the cache."""
    return max((hub_cache.folder(hub_cache.hub_cache(), stand_in.MODEL_ID) / "snapshots").iterdir())


def tiny(folder: Path) -> Path:
    """A Llama of one layer with random weights and SmolLM2's tokenizer and chat template."""
    import torch  # noqa: PLC0415 - loads for seconds, and `front` needs none of it
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    source = real()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=True, dtype="float32",
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
