"""S3, and what speaks like it: a bucket's prefix as a source of files.

Credentials and addresses come from the environment as botocore reads it, and by the names that KServe's
storage initializer knows: S3_ENDPOINT, S3_USE_HTTPS, S3_VERIFY_SSL, awsAnonymousCredential.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping
from typing import Any

from runtime.failures import Failure, Reason
from runtime.storage.files import Digest, RemoteFile
from runtime.storage.http import PASSING, from_start, retry_after
from runtime.storage.retry import Transient

_BLOCK = 128 << 10  # what is lost at most with a connection
_PAGE = 1000  # objects in one answer: as many as S3 gives
_CONNECT_SECONDS, _READ_SECONDS = 10, 30
_FALSE = frozenset({"0", "false", "no", "off"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_MD5 = re.compile(r"[0-9a-f]{32}")
_REFUSED = frozenset(
    """
    AccessDenied AccountProblem AllAccessDisabled ExpiredToken InvalidAccessKeyId InvalidToken 401 403
    RequestTimeTooSkewed SignatureDoesNotMatch TokenRefreshRequired UnauthorizedAccess Forbidden
    """.split()  # noqa: SIM905
)
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_PASSING = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling"})


class S3Source:
    """The objects below one prefix of one bucket, their names relative to it."""

    def __init__(self, bucket: str, prefix: str, *, environ: Mapping[str, str] = os.environ) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.endpoint = endpoint_of(environ)
        self._anonymous = environ.get("awsAnonymousCredential", "").lower() in _TRUE
        self._keys: dict[str, str] = {}  # by path
        self._sealed: set[str] = set()  # paths of objects whose tag is no MD5 although it looks like one
        self._client = _client(environ, self.endpoint, self._anonymous)

    @property
    def name(self) -> str:
        """s3://BUCKET/PREFIX."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def look(self) -> list[RemoteFile]:
        """The objects below the prefix; of a prefix that is an object itself, that one. Raises Transient,
        Failure.
        """
        below = self._list(f"{self.prefix}/" if self.prefix else "")
        if not below and self.prefix:
            below = [each for each in self._list(self.prefix) if each["Key"] == self.prefix]
        if not below:
            raise Failure(
                Reason.MODEL_NOT_FOUND,
                f"Bucket {self.bucket}{self._at()} holds nothing below {self.prefix or 'its root'}.",
            )
        return [self._file(each) for each in below]

    def read(self, file: RemoteFile, start: int, end: int) -> Generator[bytes, None, None]:
        """See `Source.read`."""
        from botocore import exceptions  # noqa: PLC0415

        asked: dict[str, Any] = {"Bucket": self.bucket, "Key": self._keys[file.path], "IfMatch": file.tag}
        if start > 0 or end < file.size:
            asked["Range"] = f"bytes={start}-{end - 1}"
        answer = self._asked("get_object", asked)
        if not self._tag_is_md5(answer):
            self._sealed.add(file.path)
        status = int(answer["ResponseMetadata"]["HTTPStatusCode"])
        body = answer["Body"]
        try:
            chunks = body.iter_chunks(_BLOCK)
            yield from from_start(chunks, status, answer.get("ContentRange"), start, file.size)
        except (exceptions.HTTPClientError, exceptions.IncompleteReadError, OSError) as error:
            raise Transient(f"{type(error).__name__}: {error}") from error
        finally:
            body.close()

    def digest(self, file: RemoteFile) -> Digest | None:
        """See `Source.digest`."""
        return None if file.path in self._sealed else file.digest

    def _tag_is_md5(self, answer: dict[str, Any]) -> bool:
        """Whether the tag of an object put in one part is its MD5: not where it is encrypted by another key
        than AWS's own, nor in directory buckets.
        """
        sealed = answer.get("ServerSideEncryption") or answer.get("SSECustomerAlgorithm")
        own = sealed is None or (sealed == "AES256" and self.endpoint is None)
        return own and answer.get("StorageClass") != "EXPRESS_ONEZONE"

    def _list(self, prefix: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix, "MaxKeys": _PAGE}
        while True:
            answer = self._asked("list_objects_v2", asked)
            # Some tools mark folders by empty objects whose names end in a slash.
            found += [each for each in answer.get("Contents") or [] if not each["Key"].endswith("/")]
            if not answer.get("IsTruncated"):
                return found
            asked = {**asked, "ContinuationToken": answer["NextContinuationToken"]}

    def _file(self, listed: dict[str, Any]) -> RemoteFile:
        key, tag = str(listed["Key"]), str(listed["ETag"])
        path = key[len(self.prefix) + 1 :] if self.prefix and key != self.prefix else key
        if key == self.prefix:
            path = key.rpartition("/")[2]
        self._keys[path] = key
        # The tag of an object that was put in one part is its MD5, but see `_tag_is_md5`.
        bare = tag.strip('"')
        digest = Digest("md5", bare) if _MD5.fullmatch(bare) else None
        return RemoteFile(path, int(listed["Size"]), tag, digest)

    def _asked(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        from botocore import exceptions  # noqa: PLC0415 - only where S3 is asked

        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**asked)
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise Failure(
                Reason.CREDENTIALS_MISSING,
                f"There are no credentials for {self.name}{self._at()} ({error}). Give the container "
                f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from a Secret, or name the Secret in the "
                f"annotation serving.kserve.io/storageSecretName; without any: awsAnonymousCredential=true.",
            ) from error
        except exceptions.ClientError as error:
            raise self._refusal(error.response, str(asked.get("Key") or "")) from error
        except exceptions.SSLError as error:
            raise Failure(
                Reason.STORAGE_UNREACHABLE,
                f"{self._where()} has a certificate that is not trusted: {error}. Give the container the "
                f"authority's certificate as AWS_CA_BUNDLE.",
            ) from error
        except (exceptions.HTTPClientError, exceptions.EndpointConnectionError, OSError) as error:
            raise Transient(str(error)) from error
        return answer

    def _refusal(  # noqa: PLR0911 - one return for each kind of refusal
        self, response: dict[str, Any], key: str
    ) -> Exception:
        code = str(response.get("Error", {}).get("Code", ""))
        said = str(response.get("Error", {}).get("Message", "")).rstrip(".")
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if code in _PASSING or status in PASSING:
            return Transient(
                f"{code or f'HTTP {status}'}: {said}", after=retry_after(headers.get("retry-after"))
            )
        if code == "NoSuchBucket" or (status == 404 and not key):
            return Failure(Reason.MODEL_NOT_FOUND, f"There is no bucket {self.bucket}{self._at()}.")
        if code in ("NoSuchKey", "404"):
            return Failure(Reason.FILE_MISSING, f"{key} was in bucket {self.bucket} and is gone.")
        if status == 412 or code == "PreconditionFailed":
            message = (
                f"{key} of bucket {self.bucket} changed while it was fetched; the next start takes the new."
            )
            return Failure(Reason.CHECKSUM_MISMATCH, message)
        if code in _ELSEWHERE:
            region = headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region")
            hint = f"AWS_REGION={region}" if region else "AWS_REGION to the bucket's region"
            return Failure(
                Reason.STORAGE_UNREACHABLE, f"Bucket {self.bucket} is in another region ({said}). Set {hint}."
            )
        if code in _REFUSED or status in (401, 403):
            who = "without credentials" if self._anonymous else "with the credentials given"
            return Failure(
                Reason.ACCESS_DENIED,
                f"{self._where()} refused {self.name} {who}: {code}{f' ({said})' if said else ''}. They need "
                f"s3:ListBucket on the bucket and s3:GetObject on its objects.",
            )
        return Failure(
            Reason.STORAGE_UNREACHABLE, f"{self._where()} answered {code or status} for {self.name}: {said}."
        )

    def _at(self) -> str:
        return f" at {self.endpoint}" if self.endpoint else ""

    def _where(self) -> str:
        return self.endpoint or "S3"


def endpoint_of(environ: Mapping[str, str]) -> str | None:
    """The server's address; None for AWS itself."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if given := environ.get(name):
            return given.rstrip("/")
    given = environ.get("S3_ENDPOINT")
    if not given:
        return None
    if "://" in given:
        return given.rstrip("/")
    plain = environ.get("S3_USE_HTTPS", "1").lower() in _FALSE
    return f"{'http' if plain else 'https'}://{given}".rstrip("/")


def _client(environ: Mapping[str, str], endpoint: str | None, anonymous: bool) -> Any:
    import boto3  # noqa: PLC0415 - only where S3 is asked
    import urllib3  # noqa: PLC0415 - botocore's own client
    from botocore import UNSIGNED, exceptions  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # Servers of one's own are rarely reachable under a name for each bucket.
    virtual = environ.get("S3_USER_VIRTUAL_BUCKET", "").lower() in _TRUE
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1},  # tried again where bytes are counted
        max_pool_connections=16,
        s3={"addressing_style": "path" if endpoint and not virtual else "auto"},
        **({"signature_version": UNSIGNED} if anonymous else {}),
    )
    verify: str | bool | None = environ.get("AWS_CA_BUNDLE") or None
    if environ.get("S3_VERIFY_SSL", "").lower() in _FALSE:
        verify = False
        # It was asked for, and would be repeated at every request.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    try:
        session = boto3.session.Session(
            aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID") or None,
            aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY") or None,
            aws_session_token=environ.get("AWS_SESSION_TOKEN") or None,
            region_name=region,
        )
        return session.client("s3", endpoint_url=endpoint, verify=verify, config=config)
    except (exceptions.BotoCoreError, ValueError) as error:
        raise Failure(Reason.INVALID_ARGUMENT, f"The settings for S3 cannot be used: {error}") from error
