"""A model and tokenizers small enough to be made in a test: real classes, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LLAMA3_TEMPLATE = (
    "{% for message in messages %}{% set content = '<|start|>' + message['role'] + '<|end_of_header|>\n\n' "
    "+ message['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + "
    "content %}"
    "{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end_of_header|>\n\n' }}{% endif %}"
)
HERMES_TEMPLATE = (
    "{% if tools %}<|im_start|>system\nCall a tool as <tool_call>JSON</tool_call>: "
    "{{ tools | tojson }}<|im_end|>\n"
    "{% elif messages[0]['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's own template, and tools in the Hermes form."""
_SPECIAL = ["<|begin|>", "<|eot|>", "<|start|>", "<|end_of_header|>"]


def llama3_style_tokenizer() -> Any:
    """Bytes as tokens, a beginning-of-text token put before every text, and a template that writes it too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: n for n, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin|>",
        eos_token="<|eot|>",
        chat_template=LLAMA3_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def save_tiny_llama(folder: Path, **changes: Any) -> Path:
    """A Llama of two layers that answers nonsense, with the tokenizer above."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    tokenizer = llama3_style_tokenizer()
    config = LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "dtype": "float32",
            "initializer_range": 0.5,  # so that its choices are clear ones
            **changes,
        }
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_codegen(folder: Path) -> Path:
    """A model of an architecture that transformers serves and vLLM does not."""
    from transformers import CodeGenConfig, CodeGenForCausalLM

    tokenizer = llama3_style_tokenizer()
    config = CodeGenConfig(
        vocab_size=len(tokenizer),
        n_positions=128,
        n_ctx=128,
        n_embd=32,
        n_layer=2,
        n_head=4,
        rotary_dim=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    CodeGenForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
