"""The hub as a source of files: its listing of a revision, its files in ranges, its refusals in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from runtime.failures import Failure, Reason
from runtime.storage.files import Digest, RemoteFile
from runtime.storage.http import PASSING, from_start, retry_after
from runtime.storage.retry import Transient

T = TypeVar("T")

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0
_PUBLIC = "https://huggingface.co"


def token_of(environ: Mapping[str, str] = os.environ) -> str | None:
    """The hub's token: HF_TOKEN, its older name, or the file that HF_TOKEN_PATH names."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if given := environ.get(name, "").strip():
            return given
    if path := environ.get("HF_TOKEN_PATH"):
        try:
            with open(path) as file:
                return file.read().strip() or None
        except OSError:
            return None
    return None


def endpoint_of(environ: Mapping[str, str] = os.environ) -> str:
    """The hub's address: HF_ENDPOINT, else the public hub's."""
    return (environ.get("HF_ENDPOINT") or _PUBLIC).rstrip("/")


@dataclass(frozen=True)
class Revision:
    """A revision as the hub has it now."""

    commit: str
    files: tuple[RemoteFile, ...]


class HubSource:
    """One revision of one repository."""

    def __init__(
        self, repository: str, revision: str | None, *, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.repository = repository
        self.revision = revision or "main"
        self.endpoint = endpoint_of(environ)
        self._token = token_of(environ)
        self._commit = self.revision

    @property
    def name(self) -> str:
        """hf://OWNER/MODEL@REVISION."""
        return f"hf://{self.repository}" + ("" if self.revision == "main" else f"@{self.revision}")

    def look(self) -> Revision:
        """The commit and its files. Raises Transient, Failure."""
        from huggingface_hub import HfApi  # noqa: PLC0415 - only where the hub is asked
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

        # False: no token of a file in the home directory either, which a pod's user did not give.
        api = HfApi(endpoint=self.endpoint, token=self._token or False)
        info = self._asked(
            lambda: api.model_info(self.repository, revision=self.revision, timeout=_READ_SECONDS)
        )
        if not info.sha:
            raise Transient(f"{self.endpoint} named no commit for {self.name}")
        self._commit = info.sha
        tree = self._asked(
            lambda: list(api.list_repo_tree(self.repository, recursive=True, revision=info.sha))
        )
        return Revision(info.sha, tuple(_file(each) for each in tree if isinstance(each, RepoFile)))

    def read(self, file: RemoteFile, start: int, end: int) -> Generator[bytes, None, None]:
        """See `Source.read`."""
        from huggingface_hub import hf_hub_url  # noqa: PLC0415
        from huggingface_hub.utils import build_hf_headers, get_session  # noqa: PLC0415

        url = hf_hub_url(self.repository, file.path, revision=self._commit, endpoint=self.endpoint)
        headers = build_hf_headers(token=self._token or False, library_name="stoker")
        headers["Accept-Encoding"] = "identity"  # a compressed answer has other bytes and no ranges
        if start > 0 or end < file.size:
            headers["Range"] = f"bytes={start}-{end - 1}"

        def stream() -> Generator[bytes, None, None]:
            options: dict[str, Any] = {"headers": headers, "timeout": _timeout(), "follow_redirects": True}
            with get_session().stream("GET", url, **options) as answer:
                if answer.status_code not in (200, 206):
                    answer.read()
                    raise self._refusal(answer.status_code, answer.headers, file.path)
                content_range = answer.headers.get("Content-Range")
                chunks = (
                    answer.iter_raw()
                )  # as it comes: a block that waits to be full is lost with its connection
                yield from from_start(chunks, answer.status_code, content_range, start, file.size)

        try:
            yield from stream()
        except _network_errors() as error:
            raise Transient(f"{type(error).__name__}: {error}") from error

    def digest(self, file: RemoteFile) -> Digest | None:
        """See `Source.digest`."""
        return file.digest

    def _refusal(self, status: int, headers: Mapping[str, str], path: str) -> Exception:
        if status in PASSING:
            return Transient(f"HTTP {status}", after=retry_after(headers.get("Retry-After")))
        if status == 404:
            return Failure(
                Reason.FILE_MISSING,
                f"{self.name} lists {path}, and the hub has no such file (HTTP 404).",
            )
        return self._denied(status)

    def _asked(self, call: Callable[[], T]) -> T:
        """What the hub's API answers, its errors told apart."""
        from huggingface_hub import errors  # noqa: PLC0415

        try:
            return call()
        except errors.GatedRepoError:
            raise self._gated() from None
        except errors.RepositoryNotFoundError as error:
            if self._token and "invalid" in str(error).lower() and "credential" in str(error).lower():
                raise self._denied(401) from None
            hint = "" if self._token else " If it is private, give the container an HF_TOKEN from a Secret."
            raise Failure(Reason.MODEL_NOT_FOUND, f"The hub has no model {self.repository}.{hint}") from None
        except errors.RevisionNotFoundError:
            message = f"Model {self.repository} has no revision {self.revision}."
            raise Failure(Reason.MODEL_NOT_FOUND, message) from None
        except errors.HfHubHTTPError as error:
            if error.response is None:
                raise Transient(str(error)) from error
            status = error.response.status_code
            if status in (401, 403):
                raise self._denied(status) from None
            after = retry_after(error.response.headers.get("Retry-After"))
            raise Transient(f"HTTP {status}", after=after) from error
        except _network_errors() as error:
            raise Transient(f"{type(error).__name__}: {error}") from error

    def _gated(self) -> Failure:
        if self._token:
            return Failure(
                Reason.MODEL_GATED,
                f"Model {self.repository} is gated and the account of HF_TOKEN has no access to it. "
                f"Ask for access on the model's page, or use another token.",
            )
        return Failure(
            Reason.TOKEN_MISSING,
            f"Model {self.repository} is gated and there is no HF_TOKEN. Accept its licence on the model's "
            f"page and give the container an HF_TOKEN from a Secret.",
        )

    def _denied(self, status: int) -> Failure:
        if self._token:
            return Failure(
                Reason.ACCESS_DENIED,
                f"The hub refused HF_TOKEN for model {self.repository} (HTTP {status}). Check that the "
                f"token is valid, not expired, and may read this model.",
            )
        return Failure(
            Reason.TOKEN_MISSING,
            f"The hub refused model {self.repository} without a token (HTTP {status}). Give the container an "
            f"HF_TOKEN from a Secret.",
        )


def _file(entry: Any) -> RemoteFile:
    if entry.lfs is not None:
        return RemoteFile(entry.path, entry.lfs.size, entry.lfs.sha256, Digest("sha256", entry.lfs.sha256))
    return RemoteFile(entry.path, entry.size, entry.blob_id, Digest("git", entry.blob_id))


def _network_errors() -> tuple[type[Exception], ...]:
    import httpx2  # noqa: PLC0415 - the hub library's own client

    return (httpx2.TransportError, httpx2.StreamError, ConnectionError, TimeoutError)


def _timeout() -> Any:
    import httpx2  # noqa: PLC0415

    return httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
