"""The model server: OpenAI endpoints over vLLM or transformers, with metrics."""

__version__ = "0.1.0"
