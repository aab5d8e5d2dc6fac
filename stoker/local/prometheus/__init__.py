"""Prometheus on the local cluster, on request: the program, and the pod that runs it."""
