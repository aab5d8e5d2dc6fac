"""The model server: OpenAI endpoints over vLLM or transformers, with metrics."""
