"""Finding a model of the hub for serving: the cache, else the hub, else a Failure that says what to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runtime.failures import Failure, Reason, explain
from runtime.hub import cache as hub_cache
from runtime.hub.source import HubSource, Revision
from runtime.storage.disk import disk_failure, exclusive
from runtime.storage.files import Choice, RemoteFile, choose
from runtime.storage.retry import Retrying, Transient
from runtime.storage.transfer import Order, Report, Transfer

_TOKENIZER = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.vocab")
# With the model in the cache the hub is only asked whether there is a newer one.
_ATTEMPTS_WITH_A_COPY = 2
_FOR_SERVING = Choice()


def locate(
    model_id: str,
    revision: str | None,
    cache: Path,
    report: Report,
    *,
    choice: Choice = _FOR_SERVING,
    retrying: Retrying | None = None,
) -> Path:
    """The directory with the model's files; blocks while it downloads. Raises Failure."""
    if os.path.isdir(model_id):
        return Path(model_id)
    if model_id.startswith(("/", "./", "../")):
        raise Failure(
            Reason.MODEL_NOT_FOUND,
            f"There is no directory {model_id}. Give --model_id a hub id (ORG/NAME) or a directory.",
        )
    if not hub_cache.valid_id(model_id):
        raise Failure(
            Reason.MODEL_NOT_FOUND, f"{model_id!r} is no model id: the hub's ids look like ORG/NAME."
        )
    cached = hub_cache.find(cache, model_id, revision)
    if hub_cache.offline():
        if cached is None:
            raise Failure(Reason.HUB_UNREACHABLE, offline_message(model_id, revision, cache))
        return cached
    if cached is not None and cached.name == revision:
        return cached  # a commit never changes
    try:
        return download(model_id, revision, cache, report, choice=choice, retrying=retrying)
    except Failure as failure:
        if cached is None or failure.reason is not Reason.HUB_UNREACHABLE:
            raise
        return cached


def download(
    model_id: str,
    revision: str | None,
    cache: Path,
    report: Report,
    *,
    choice: Choice = _FOR_SERVING,
    retrying: Retrying | None = None,
) -> Path:
    """Brings the newest files of a revision from the hub into the cache, as the hub's own library lays it
    out. Raises Failure.
    """
    retrying = retrying or Retrying()
    source = HubSource(model_id, revision)
    copy = hub_cache.find(cache, model_id, revision) is not None
    there = _look(source, cache, retrying, copy)
    wanted = choose(there.files, choice, source.name)
    snapshot = _bring(source, there, wanted, cache, report=report, retrying=retrying)
    missing = hub_cache.missing_files(snapshot)
    if missing:
        raise Failure(
            Reason.FILE_MISSING,
            f"Model {model_id} names files in its index that the hub does not have at revision "
            f"{revision or 'main'}: {', '.join(missing[:3])}{' and others' if len(missing) > 3 else ''}.",
        )
    if not hub_cache.complete(snapshot):
        raise Failure(
            Reason.MODEL_INVALID,
            f"Model {model_id} has no config.json with safetensors weights at revision {revision or 'main'}; "
            f"files seen: {', '.join(sorted(file.path for file in there.files)[:20])}",
        )
    return snapshot


def locate_tokenizer(
    model: Path, tokenizer: str | None, revision: str | None, model_id: str, cache: Path
) -> Path:
    """The directory with the tokenizer's files: the model's own unless a flag names another. Raises
    Failure.
    """
    if tokenizer is None and revision is None:
        return model
    name = tokenizer or model_id.removeprefix("hf://").partition(":")[0].partition("@")[0]
    if os.path.isdir(name):
        return Path(name)
    if not hub_cache.valid_id(name):
        raise Failure(Reason.MODEL_NOT_FOUND, f"{name!r} is neither a directory nor an id of the hub.")
    cached = hub_cache.snapshot_of(cache, name, revision)
    if hub_cache.offline():
        if cached is None:
            raise Failure(Reason.HUB_UNREACHABLE, offline_message(name, revision, cache))
        return cached
    source, retrying = HubSource(name, revision), Retrying()
    there = _look(source, cache, retrying, cached is not None)
    wanted = [file for file in there.files if any(Path(file.path).match(each) for each in _TOKENIZER)]
    return _bring(source, there, wanted, cache, report=_silent, retrying=retrying)


def _look(source: HubSource, cache: Path, retrying: Retrying, copy: bool) -> Revision:
    attempts = retrying.attempts
    try:
        if copy:
            retrying.attempts = min(attempts, _ATTEMPTS_WITH_A_COPY)
        return retrying.call(source.look)
    except Transient as problem:
        told = offline_message(source.repository, source.revision, cache)
        raise Failure(Reason.HUB_UNREACHABLE, f"{told} The last answer: {problem.message}.") from problem
    except Failure:
        raise
    except Exception as error:
        raise explain(error, doing=f"looking model {source.repository} up on the hub") from error
    finally:
        retrying.attempts = attempts


def _bring(
    source: HubSource,
    there: Revision,
    wanted: Sequence[RemoteFile],
    cache: Path,
    *,
    report: Report,
    retrying: Retrying,
) -> Path:
    """Blobs by their hash, a snapshot of links to them, the branch's name last."""
    home = hub_cache.folder(cache, source.repository)
    blobs, snapshot = home / "blobs", home / "snapshots" / there.commit
    lock = cache / ".locks" / f"{home.name}.lock"
    with exclusive(lock, retrying.on_wait):
        try:
            links = [file for file in wanted if not (snapshot / file.path).exists()]
            missing = {file.tag: file for file in links if not (blobs / file.tag).exists()}
            orders = [
                Order(file, blobs / file.tag, blobs / f"{file.tag}.partial") for file in missing.values()
            ]
            there_already = sum(file.size for file in wanted) - sum(file.size for file in missing.values())
            snapshot.mkdir(parents=True, exist_ok=True)
            Transfer(source, report, retrying).run(orders, present=there_already)
            for file in links:
                _link(snapshot / file.path, blobs / file.tag)
            if source.revision != there.commit:
                _write_reference(home / "refs" / source.revision, there.commit)
        except OSError as error:
            raise disk_failure(error, cache) from error
    return snapshot


def _silent(done: int, total: int) -> None:
    return None


def _link(link: Path, blob: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)  # one whose blob is gone
    link.symlink_to(os.path.relpath(blob, link.parent))


def _write_reference(reference: Path, commit: str) -> None:
    reference.parent.mkdir(parents=True, exist_ok=True)
    fresh = reference.with_name(f".{reference.name}.new")
    fresh.write_text(commit)
    fresh.replace(reference)


def offline_message(model_id: str, revision: str | None, cache: Path) -> str:
    """Why a model that is not in the cache cannot be had, and what to do."""
    at = f" at revision {revision}" if revision not in (None, "main") else ""
    if hub_cache.offline():
        why = "the hub is switched off (HF_HUB_OFFLINE=1)"
    else:
        why = f"the hub ({os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}) cannot be reached"
    return (
        f"Model {model_id}{at} is not in the cache {cache} and {why}. "
        f"Fetch it first with `stoker model fetch {model_id}` on a machine that reaches the hub."
    )
