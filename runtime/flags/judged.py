"""vLLM's flags as its own parser judges them, and where it cannot."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.engines.base import Unsupported
from runtime.flags.tokens import Given


def judge(backend: str, given: Sequence[Given]) -> list[str]:
    """All that is wrong with flags meant for vLLM, values included. Imports vLLM: blocks for seconds.

    Raises Unsupported where vLLM cannot be used here and `backend` is no other's either.
    """
    if not given:
        return []
    from runtime.engines.vllm.importing import import_vllm  # noqa: PLC0415 - where it is asked for

    try:
        import_vllm()
    except Unsupported as unsupported:
        if backend == "vllm":
            raise
        return without_vllm(given, unsupported.message)
    from runtime.engines.vllm.flags.judge import problems  # noqa: PLC0415 - needs vLLM

    return problems(given)


def without_vllm(given: Sequence[Given], why: str) -> list[str]:
    """What is wrong with vLLM's flags where another backend has to serve."""
    return [f"{each.written}: a flag of vLLM, which cannot serve here: {why}" for each in given]
