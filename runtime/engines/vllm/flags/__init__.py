"""vLLM's own command line: its parser, what it has against flags, and typed arguments from them."""
