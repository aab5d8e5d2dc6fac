"""Turning a GGUF file into a plain transformers model on disk."""

from __future__ import annotations

import json
from pathlib import Path


def dequantise(gguf: Path, target: Path, *, max_length: int) -> None:
    """Saves the model of a GGUF file as bfloat16 safetensors with its tokenizer and chat template.

    transformers' own reader unpacks the blocks. It is called below `from_pretrained`, which insists on
    the accelerate package for GGUF files and keeps a quantizer on the model that then refuses to save.
    """
    import torch  # noqa: PLC0415 - loads for seconds
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    where, name = str(gguf.parent), gguf.name
    config = AutoConfig.from_pretrained(where, gguf_file=name)
    with torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    weights = load_gguf_checkpoint(
        str(gguf), return_tensors=True, model_to_load=shape, torch_dtype=torch.bfloat16
    )["tensors"]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = set(model._tied_weights_keys or ())
    if unexpected or set(missing) - tied:
        raise ValueError(f"{name} does not fit its architecture: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(target)
    _tidy(target / "config.json")


def _tidy(path: Path) -> None:
    """GGUF keeps numbers as float32 and a training run's name; restore what the original says."""
    config = json.loads(path.read_text())
    config.pop("_model_name_or_path", None)
    config["rms_norm_eps"] = float(f"{config['rms_norm_eps']:.6g}")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
