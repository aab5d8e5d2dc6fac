"""How many weights are loaded, told by the library's own progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from runtime.state import Progress

_EVERY = 0.01  # of all


@contextmanager
def weights_counted(report: Callable[[Progress], None]) -> Iterator[None]:
    """`report` gets how many weights are there while the library loads them, which shows nothing itself."""
    from transformers.utils import logging  # noqa: PLC0415 - loads for seconds

    def counted(make: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if options.get("desc") != "Loading weights" or not args:
            return make(*args, **options)
        return _count(args[0], len(args[0]), report)

    before = logging.set_tqdm_hook(counted)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _count(items: Iterable[Any], total: int, report: Callable[[Progress], None]) -> Iterator[Any]:
    every = max(1, int(total * _EVERY))
    for done, item in enumerate(items):
        if done % every == 0:
            report(Progress(done, total, "weights"))
        yield item
    report(Progress(total, total, "weights"))
