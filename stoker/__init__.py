"""Stoker: LLMs served on Kubernetes, in Python."""
