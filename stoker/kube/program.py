"""The frame of a long-running program: logs, and an orderly end on a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_until_signalled(
    main: Callable[[], Awaitable[None]],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run `main` until it ends or SIGTERM or SIGINT comes; returns the process's exit status.

    The first signal cancels the main task, so that each `async with` in it closes in order; a second one
    ends the process at once. 0: ended, or ended by a signal; 1: an exception, which is logged.
    """
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(_run(main))
    except KeyboardInterrupt:  # in the moments before and after the handlers are in place
        return 128 + signal.SIGINT


async def _run(main: Callable[[], Awaitable[None]]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main())
    signalled = False

    def stop(signum: signal.Signals) -> None:
        nonlocal signalled
        if signalled:
            log.warning("second signal: stopping at once", signal=signum.name)
            sys.stderr.flush()
            os._exit(128 + signum)  # no finally, no atexit: whoever asks twice means now
        signalled = True
        log.info("stopping", signal=signum.name)
        task.cancel()

    for signum in _SIGNALS:
        loop.add_signal_handler(signum, stop, signum)
    try:
        await task
    except asyncio.CancelledError:
        if not signalled:
            raise
    except Exception:
        log.exception("the program failed")
        return 1
    finally:
        for signum in _SIGNALS:
            loop.remove_signal_handler(signum)
    return 0


def configure_logging(json: bool | None = None) -> None:
    """Send structlog's and the standard library's records to stderr, one line each.

    `json`: JSON lines, or coloured text; None chooses text on a terminal. The event is a constant
    sentence, what varies are keys beside it.
    """
    if json is None:
        json = not sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if json:
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        last += [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # Rich's would show local variables: whole objects, Secrets among them.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    # A log that nobody reads any more (EPIPE) must not stop the work.
    logging.raiseExceptions = False
