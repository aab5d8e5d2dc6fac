"""The vLLM backend: the only place that imports vllm."""
