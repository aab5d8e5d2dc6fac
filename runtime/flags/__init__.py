"""Command line flags: our own table, vLLM's parser beside it, and one list of problems for both."""
