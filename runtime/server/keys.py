"""API keys: several, named, from a file that may change while the server runs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from runtime.failures import Failure, Reason
from runtime.openai.problem import ApiProblem

_LOOK_SECONDS = 2.0
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64})\s*:\s*(?P<key>[\x21-\x7e]{8,512})")
_MINUTE = 60.0

log = structlog.get_logger()


class Keys:
    """The keys of a file with `NAME: KEY` lines; `#` begins a comment. Only digests are kept."""

    def __init__(
        self, file: Path, tokens_per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises Failure(InvalidArgument) where the file cannot be read. `tokens_per_minute` 0: no bound."""
        self._file = file
        self._seen = _stamp(file)
        self._digests = _read(file)
        self._wrong: str | None = None  # with the file, as it was said last
        self._most = float(tokens_per_minute)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, and when that was

    def name_of(self, authorization: str | None) -> str:
        """The name of the key in an Authorization header. Raises ApiProblem (401). Takes as long for every
        key, right or wrong.
        """
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip())
        names = [name for name, known in self._digests.items() if hmac.compare_digest(known, digest)]
        if not names or scheme.lower() != "bearer":
            message = (
                "This API key is not known." if given else "An API key is needed: Authorization: Bearer KEY."
            )
            raise ApiProblem(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        return names[0]

    def require_tokens(self, name: str) -> None:
        """Refuses (429) a key that has used its tokens of this minute."""
        left = self._left(name)
        if self._most and left <= 0:
            wait = max(1, round(-left / self._most * _MINUTE + 0.5))
            raise ApiProblem(
                429,
                f"The API key `{name}` has used its {self._most:.0f} tokens of this minute. "
                f"Try again in {wait} s.",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(wait)},
            )

    def used(self, name: str, tokens: int) -> None:
        """So many tokens were read or written for the key."""
        if self._most:
            self._buckets[name] = (self._left(name) - tokens, self._clock())

    def _left(self, name: str) -> float:
        left, at = self._buckets.get(name, (self._most, self._clock()))
        return min(self._most, left + (self._clock() - at) * self._most / _MINUTE)

    async def follow(self) -> None:
        """Reads the file again whenever it changes; what cannot be read leaves the keys as they were."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Reads the file again if it changed. What is wrong with it is said once."""
        try:
            stamp = _stamp(self._file)
            if stamp == self._seen:
                self._wrong = None
                return
            self._digests = _read(self._file)
        except Failure as failure:
            if failure.message != self._wrong:
                log.error("the API keys stay as they were", problem=failure.message)
            self._wrong = failure.message
        else:
            self._seen, self._wrong = stamp, None
            log.info("API keys read again", names=sorted(self._digests))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()


def _stamp(file: Path) -> tuple[int, int, int]:
    """Changes when the file does; a mounted Secret is replaced by moving a link, which stat follows."""
    try:
        stat = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from error
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _read(file: Path) -> dict[str, bytes]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    digests: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match["name"] in digests:
            raise Failure(
                Reason.INVALID_ARGUMENT,
                f"--api_keys_file={file}, line {number}: must be `NAME: KEY` with a name of its own "
                f"and a key of at least 8 characters",
            )
        digests[match["name"]] = _digest(match["key"])
    if not digests:
        raise Failure(Reason.INVALID_ARGUMENT, f"--api_keys_file={file}: holds no key")
    return digests


def _unreadable(file: Path, error: Exception) -> Failure:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return Failure(Reason.INVALID_ARGUMENT, f"--api_keys_file={file}: {reason}")
