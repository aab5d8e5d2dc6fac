"""Finding a model for serving: the cache, else the hub, else a Failure that says what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runtime.failures import Failure, Reason, explain
from runtime.hub import cache as hub_cache

Report = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) as a download goes on, from any thread."""

_TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.vocab")
_OTHER_FORMATS = ("original/*", "consolidated*", "onnx/*", "openvino/*", "*.gguf")


def locate(model_id: str, revision: str | None, cache: Path, report: Report, *, code: bool) -> Path:
    """The directory with the model's files; blocks while it downloads.

    `code` also takes Python files along (trust_remote_code). Raises Failure.
    """
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
            raise Failure(Reason.HUB_UNREACHABLE, _offline_message(model_id, revision, cache))
        return cached
    if cached is not None and cached.name == revision:
        return cached  # a commit never changes
    return download(model_id, revision, cache, report, code=code)


def download(model_id: str, revision: str | None, cache: Path, report: Report, *, code: bool) -> Path:
    """Brings the newest files of a revision from the hub into the cache. Raises Failure."""
    patterns = [*_TEXT_FILES, *(["*.py"] if code else [])]
    try:
        snapshot = _snapshot(model_id, revision, cache, report, [*patterns, "*.safetensors"])
        if not hub_cache.complete(snapshot):
            snapshot = _snapshot(model_id, revision, cache, report, [*patterns, "*.bin", "*.pt"])
    except Exception as error:
        raise _failure(error, model_id, revision, cache) from error
    if not hub_cache.complete(snapshot):
        raise Failure(
            Reason.MODEL_INVALID,
            f"Model {model_id} has no config.json with safetensors or PyTorch weights at revision "
            f"{revision or 'main'}; files seen: {', '.join(sorted(p.name for p in snapshot.iterdir()))}",
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
    name = tokenizer or model_id
    if os.path.isdir(name):
        return Path(name)
    if not hub_cache.valid_id(name):
        raise Failure(Reason.MODEL_NOT_FOUND, f"{name!r} is neither a directory nor an id of the hub.")
    try:
        return _snapshot(name, revision, cache, lambda done, total: None, _TEXT_FILES)
    except Exception as error:
        raise _failure(error, name, revision, cache) from error


def _snapshot(
    model_id: str, revision: str | None, cache: Path, report: Report, patterns: Iterable[str]
) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only where the hub is asked

    path = snapshot_download(
        model_id,
        revision=revision,
        cache_dir=cache,
        allow_patterns=list(patterns),
        ignore_patterns=list(_OTHER_FORMATS),
        tqdm_class=_meter(report),
        max_workers=4,
    )
    return Path(path)


def _meter(report: Report) -> type[Any]:
    """A stand-in for tqdm's bar that reports the bytes written to disk instead of drawing."""

    class Meter:
        def __init__(self, iterable: Iterable[Any] = (), **kwargs: Any) -> None:
            self._iterable = iterable
            self._counts = "Reconstructing" in str(kwargs.get("desc", ""))
            self.total: float = kwargs.get("total") or 0
            self.n: float = kwargs.get("initial") or 0
            self.disable = False

        def __iter__(self) -> Any:
            return iter(self._iterable)

        def __enter__(self) -> Self:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            return None

        def update(self, amount: float | None = 1) -> None:
            self.n += amount or 0
            self.refresh()

        def refresh(self, *_: Any, **__: Any) -> None:
            if self._counts and self.total:
                report(int(self.n), int(self.total))

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args, **kwargs: None  # set_description, close, set_lock, ...

        @classmethod
        def get_lock(cls) -> Any:
            import threading  # noqa: PLC0415

            return threading.RLock()

        @classmethod
        def set_lock(cls, lock: Any) -> None:
            return None

    return Meter


def _failure(  # noqa: PLR0911 - one return for each kind of failure
    error: Exception, model_id: str, revision: str | None, cache: Path
) -> Failure:
    from huggingface_hub import errors  # noqa: PLC0415

    token = bool(os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"))
    if isinstance(error, errors.GatedRepoError):
        if token:
            return Failure(
                Reason.MODEL_GATED,
                f"Model {model_id} is gated and the account of HF_TOKEN has no access to it. "
                f"Ask for access on the model's page, or use another token.",
            )
        return Failure(
            Reason.TOKEN_MISSING,
            f"Model {model_id} is gated and there is no HF_TOKEN. Accept its licence on the model's "
            f"page and give the container an HF_TOKEN from a Secret.",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        hint = "" if token else " If it is private, give the container an HF_TOKEN from a Secret."
        return Failure(Reason.MODEL_NOT_FOUND, f"The hub has no model {model_id}.{hint}")
    if isinstance(error, errors.RevisionNotFoundError):
        return Failure(Reason.MODEL_NOT_FOUND, f"Model {model_id} has no revision {revision}.")
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        if status in (401, 403):
            reason = Reason.MODEL_GATED if token else Reason.TOKEN_MISSING
            return Failure(reason, f"The hub refused model {model_id} (HTTP {status}). Check HF_TOKEN.")
        return Failure(
            Reason.HUB_UNREACHABLE, f"The hub answered HTTP {status} for model {model_id}; try again."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return Failure(
            Reason.DISK_FULL,
            f"The model cache {cache} cannot be written ({error.strerror}). Set HF_HUB_CACHE to a "
            f"writable volume.",
        )
    if (
        isinstance(error, (errors.LocalEntryNotFoundError, ConnectionError))
        or "Connect" in type(error).__name__
    ):
        return Failure(Reason.HUB_UNREACHABLE, _offline_message(model_id, revision, cache))
    return explain(error, doing=f"downloading model {model_id}")


def _offline_message(model_id: str, revision: str | None, cache: Path) -> str:
    at = f" at revision {revision}" if revision else ""
    if hub_cache.offline():
        why = "the hub is switched off (HF_HUB_OFFLINE=1)"
    else:
        why = f"the hub ({os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}) cannot be reached"
    return (
        f"Model {model_id}{at} is not in the cache {cache} and {why}. "
        f"Fetch it first with `stoker model fetch {model_id}` on a machine that reaches the hub."
    )
