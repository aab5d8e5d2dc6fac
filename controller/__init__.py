"""The controller: makes the cluster what its InferenceServices ask for.  python -m controller."""

VERSION = "0.1.0"
