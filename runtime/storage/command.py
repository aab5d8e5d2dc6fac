"""`python -m runtime fetch URI DIR`: what an init container runs before a program that reads /mnt/models.

It fetches everything below the URI but pickles, answers GET /stoker/v1/state meanwhile, and leaves the same
document as its termination message when it fails.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import structlog

from runtime import logs
from runtime.failures import Failure, Reason, explain, write_termination_message
from runtime.hub import cache as hub_cache
from runtime.hub.download import offline_message
from runtime.hub.source import HubSource
from runtime.state import Phase, State
from runtime.storage import uri as uris
from runtime.storage.directory import fetch_into
from runtime.storage.files import Choice, RemoteFile, choose
from runtime.storage.folder import FolderSource
from runtime.storage.reporting import Reporting
from runtime.storage.resolve import looked, pickle_allowed
from runtime.storage.retry import Retrying, Transient
from runtime.storage.transfer import Source

_STATE = "/stoker/v1/state"
_STOPPED = 128 + signal.SIGTERM

log = structlog.get_logger()


def main(arguments: Sequence[str]) -> int:
    """Runs the command. Exit codes: 0 fetched, 1 failed, 2 wrong usage, 143 told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime fetch", description="Fetch a model into a directory."
    )
    parser.add_argument("uri", help="hf://OWNER/MODEL[:REVISION] or s3://BUCKET/PREFIX")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--state-port", type=int, default=8080, help="0: none; default: %(default)s")
    parser.add_argument("--log-format", choices=["auto", "json", "console"], default="auto")
    given = parser.parse_args(list(arguments))
    logs.configure(given.log_format)
    # Process 1 of a container ignores SIGTERM unless it says otherwise.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _stop)
    state = State(name="", model_id=given.uri, revision=None)
    server = _serve_state(state, given.state_port)
    try:
        state.enter(Phase.FETCHING)
        fetch(given.uri, given.directory, state)
        log.info("fetched", uri=given.uri, directory=str(given.directory), seconds=state.seconds())
        return 0
    except Failure as failure:
        return _failed(failure, state)
    except Exception as error:
        log.exception("fetch failed")
        return _failed(explain(error, doing=f"fetching {given.uri}"), state)
    finally:
        if server is not None:
            server.shutdown()


def fetch(
    text: str,
    directory: Path,
    state: State,
    environ: Mapping[str, str] = os.environ,
    retrying: Retrying | None = None,
) -> None:
    """Brings what a URI names into a directory. Raises Failure."""
    uri = uris.parse(text)
    reporting = Reporting(state, log)
    retrying = retrying or Retrying(on_retry=reporting.retrying, on_wait=reporting.waiting)
    source, listed = _listed(uri, state, environ, retrying)
    wanted = choose(listed, Choice(everything=True, pickle=pickle_allowed(environ)), source.name)
    left_out = sorted({file.path for file in listed} - {file.path for file in wanted})
    log.info("fetching", source=source.name, files=len(wanted), left_out=left_out[:20])
    fetch_into(directory, source, wanted, reporting.report, retrying)


def _listed(
    uri: uris.StorageUri, state: State, environ: Mapping[str, str], retrying: Retrying
) -> tuple[Source, Sequence[RemoteFile]]:
    if uri.scheme == "s3":
        from runtime.storage.s3 import S3Source  # noqa: PLC0415 - only where S3 is asked

        bucket = S3Source(uri.place, uri.path, environ=environ)
        return bucket, looked(bucket.look, bucket.name, retrying)
    if uri.scheme != "hf":
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"{uri} is a folder to mount, not to fetch: hf:// and s3:// can be fetched.",
        )
    cache = hub_cache.hub_cache(environ)
    if hub_cache.offline(environ):
        snapshot = hub_cache.snapshot_of(cache, uri.place, uri.revision)
        if snapshot is None:
            raise Failure(Reason.HUB_UNREACHABLE, offline_message(uri.place, uri.revision, cache))
        state.resolve_revision(snapshot.name)
        folder = FolderSource(snapshot, str(uri))
        return folder, folder.look()
    hub = HubSource(uri.place, uri.revision, environ=environ)
    try:
        there = retrying.call(hub.look)
    except Transient as problem:
        raise Failure(
            Reason.HUB_UNREACHABLE,
            f"The hub ({hub.endpoint}) did not answer for {uri} in {retrying.attempts} attempts: "
            f"{problem.message}",
        ) from problem
    state.resolve_revision(there.commit)
    return hub, there.files


def _failed(failure: Failure, state: State) -> int:
    state.fail(failure)
    log.error("failed", reason=failure.reason.value, message=failure.message)
    write_termination_message(state.document())
    return failure.exit_code


def _stop(number: int, frame: object) -> None:
    log.warning("stopped; what was fetched is kept")
    sys.stderr.flush()
    # At once: connections that hang would be waited for, and what was written is marked already.
    os._exit(_STOPPED)


def _serve_state(state: State, port: int) -> ThreadingHTTPServer | None:
    """The state document for the controller, while the fetch lasts. A port in use is no reason to fail."""
    if not port:
        return None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == _STATE
            body = json.dumps(state.document() if found else {"error": "not found"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            return None

    try:
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as error:
        log.warning("no state document", port=port, error=str(error))
        return None
    threading.Thread(target=server.serve_forever, name="state", daemon=True).start()
    return server
