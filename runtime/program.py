"""The serving program: listens at once, loads, serves, drains; every end leaves a reason and an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from aiohttp import web

from runtime import __version__, logs
from runtime.drain import Signals, drain
from runtime.failures import TERMINATION_LOG, Failure, Reason, explain, write_termination_message
from runtime.flags.parse import parse
from runtime.flags.settings import Settings
from runtime.flags.usage import usage
from runtime.hub import cache as hub_cache
from runtime.lifecycle import Lifecycle
from runtime.metrics import Metrics
from runtime.server.app import make_app
from runtime.server.connections import Runner
from runtime.server.service import Service
from runtime.state import Phase, State

_STOP_SECONDS = 10.0
_CUT_SHORT = 128 + 15

log = structlog.get_logger()


def main(arguments: Sequence[str]) -> int:
    """Serves until told to stop. Exit codes: 0 drained, 1 did not start, 2 bad flags, 3 the engine ended
    once it served, 143 cut short by a second signal.
    """
    if any(argument in ("-h", "--help") for argument in arguments):
        print(usage())  # noqa: T201 - a command's answer
        return 0
    try:
        settings = parse(arguments)
    except Failure as failure:
        logs.configure()
        _leave_word(failure, State(name="", model_id="", revision=None))
        return failure.exit_code
    logs.configure(settings.log_format)
    hub_cache.use(hub_cache.hub_cache())
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_serve(settings))
    # Threads of engines may be deep in native code; an orderly interpreter exit would wait for them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed, as it is with vLLM: its sockets cost less CPU for each chunk."""
    try:
        import uvloop  # noqa: PLC0415 - not in every image
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings) -> int:
    state = State(name=settings.model_name, model_id=settings.model_id, revision=settings.model_revision)
    metrics = Metrics()
    state.on_change(metrics.follow)
    state.on_change(lambda changed: log.info("phase", phase=changed.phase.value, seconds=changed.seconds()))
    try:
        service = Service(settings, state, metrics)
    except Failure as failure:
        _leave_word(failure, state)
        return failure.exit_code
    if settings.without_effect:
        log.warning("flags without effect here", flags=[f"--{name}" for name in settings.without_effect])
    signals = Signals()
    signals.install()
    lifecycle = Lifecycle(settings, service)
    runner = Runner(make_app(service), service, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, settings)
        return await _until_end(lifecycle, service, signals)
    except Failure as failure:
        _leave_word(failure, state)
        return failure.exit_code
    finally:
        await _shut_down(lifecycle, runner)


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    site = web.TCPSite(runner, settings.http_host, settings.http_port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(
                Reason.PORT_IN_USE, f"Port {settings.http_port} is in use. Choose another with --http_port."
            ) from error
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"Cannot listen on {settings.http_host}:{settings.http_port}: {error.strerror or error}",
        ) from error
    port = runner.addresses[0][1]
    log.info("listening", host=settings.http_host, port=port, version=__version__)


async def _until_end(lifecycle: Lifecycle, service: Service, signals: Signals) -> int:
    """The life of the program; its exit code. Raises Failure."""
    running = asyncio.create_task(lifecycle.run())
    told = asyncio.create_task(signals.first.wait())
    try:
        await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()  # raises its Failure
        if service.state.phase is not Phase.READY:  # an engine that stalls may still have answers under way
            log.info("stopped while loading")
            return 0
        draining = asyncio.create_task(drain(service, signals))
        await asyncio.wait({running, draining}, return_when=asyncio.FIRST_COMPLETED)
        if draining.done():
            return 0 if draining.result() else _CUT_SHORT
        running.result()
        return 0
    except Failure:
        raise
    except Exception as error:
        raise explain(error, doing="serving") from error
    finally:
        told.cancel()
        running.cancel()


async def _shut_down(lifecycle: Lifecycle, runner: web.AppRunner) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_SECONDS):
            if lifecycle.engine is not None:
                try:
                    await lifecycle.engine.stop()
                except Exception:
                    log.exception("engine did not stop in order")
            await runner.cleanup()


def _leave_word(failure: Failure, state: State) -> None:
    """Says why the program ends: in the state, in the container's termination message, on stderr."""
    state.fail(failure)
    document = state.document()
    path = Path(os.environ.get("STOKER_TERMINATION_LOG") or TERMINATION_LOG)
    write_termination_message(document, path)
    print(f"runtime: {failure.reason.value}: {failure.message}", file=sys.stderr, flush=True)  # noqa: T201
