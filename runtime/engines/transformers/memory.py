"""How much memory keys and values may take, in columns: one token's keys and values in all layers.

What a pod cannot hold must not be taken on: the kernel ends a program that outgrows its container, with all
its answers. So the memory is bounded where the model is loaded, and who does not fit waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.failures import Failure, Reason

_SHARE = 0.5  # of what is free beside the weights; a step's own numbers, logits and grammars take of the rest
_LEAST_CONTEXT = 256
_ROUND = 128
_MIB = 1 << 20


@dataclass(frozen=True)
class Room:
    """What may be held, and the longest sequence then. `columns` 0: the model keeps nothing by the token."""

    columns: int
    max_model_len: int


def room(column_bytes: int, longest: int, *, free: int, asked: int | None, fixed_length: bool) -> Room:
    """Room in half of the `free` bytes, or in those `asked` for; a sequence has `longest` tokens at most.

    A context that nobody asked for is made shorter where one sequence would not fit. Raises
    Failure(OutOfMemory) where the user's own (`fixed_length`) does not, or none of any use does.
    """
    if column_bytes == 0:
        return Room(0, longest)
    columns = (int(free * _SHARE) if asked is None else asked) // column_bytes
    if columns >= longest:
        return Room(columns, longest)
    fits = columns // _ROUND * _ROUND
    if fits >= _LEAST_CONTEXT and not fixed_length:
        return Room(columns, fits)
    shorter = f"Set --max_model_len={fits} or less, or raise" if fits >= _LEAST_CONTEXT else "Raise"
    needed = column_bytes * (longest if fixed_length else min(longest, _LEAST_CONTEXT))
    if asked is None:
        more = f"the memory limit by {(needed / _SHARE - free) / _MIB + 1:.0f} MiB"
        have = f"half of the {free / _MIB:.0f} MiB that are free beside the weights may be taken"
    else:
        more = f"--kv_cache_memory_bytes to {needed / _MIB + 1:.0f}M"
        have = f"--kv_cache_memory_bytes gives {asked / _MIB:.0f} MiB"
    raise Failure(
        Reason.OUT_OF_MEMORY,
        f"The keys and values of one sequence of {needed // column_bytes} tokens take {needed / _MIB:.0f} "
        f"MiB, and {have}. {shorter} {more}.",
    )
