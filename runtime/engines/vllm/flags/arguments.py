"""vLLM's engine arguments from flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs

from runtime.engines.vllm.flags.judge import problems
from runtime.engines.vllm.flags.parser import Refused, action_of, as_written, parser
from runtime.flags.parse import bad_flags
from runtime.flags.tokens import Given


def engine_args(given: Sequence[Given], fixed: Mapping[str, Any]) -> AsyncEngineArgs:
    """Typed by vLLM itself. `fixed` are values that the runtime sets (model, names, ...), by vLLM's names.

    Raises Failure(InvalidArgument) with everything that vLLM has against the flags.
    """
    if wrong := problems(given):
        raise bad_flags(wrong)
    words = [word for each in given if (action := action_of(each)) for word in as_written(action, each)]
    try:
        namespace = parser().parse_args(words)
    except Refused as refused:  # several flags that cannot stand together
        raise bad_flags([str(refused)]) from refused
    for name, value in fixed.items():
        setattr(namespace, name, value)
    return AsyncEngineArgs.from_cli_args(namespace)


def written(given: Iterable[Given]) -> set[str]:
    """The vLLM names (argparse destinations) of the flags that a user wrote."""
    actions = (action_of(each) for each in given)
    return {action.dest for action in actions if action is not None}
