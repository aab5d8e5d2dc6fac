"""The runtime's front end, measured: beside vLLM's own server, and alone."""
