"""From flags to the engine of vLLM that they ask for, not started yet."""

from __future__ import annotations

from runtime.engines.base import ModelFiles
from runtime.engines.vllm.config import make_config
from runtime.engines.vllm.embedding import VllmEmbeddingEngine
from runtime.engines.vllm.engine import VllmEngine
from runtime.engines.vllm.importing import import_vllm
from runtime.flags.settings import Settings


def make_engine(settings: Settings, files: ModelFiles) -> VllmEngine | VllmEmbeddingEngine:
    """Imports vLLM and checks everything that can be checked before weights are loaded. Blocks for seconds.

    Raises Unsupported where another backend could serve, Failure where none could.
    """
    import_vllm()
    config = make_config(settings, files)
    return (VllmEmbeddingEngine if settings.embeds else VllmEngine)(config, settings)
