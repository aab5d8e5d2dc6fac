"""S3, against moto's server: a process that speaks the protocol, with its own users and policies."""

from __future__ import annotations

import asyncio
import datetime
import http.server
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime import state as runtime_state
from runtime.failures import Failure, Reason
from runtime.storage import command, partial, s3
from runtime.storage.directory import fetch_into
from runtime.storage.files import Digest
from runtime.storage.resolve import Wanted, resolve
from runtime.storage.retry import Retrying, Transient
from runtime.storage.s3 import S3Source, endpoint_of
from tests.ports import free_port
from tests.runtime.proxy import CuttingProxy, cutting_proxy

WEIGHTS = bytes(range(256)) * 12_000


@dataclass(frozen=True)
class Server:
    url: str
    environ: dict[str, str]

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
        )

    def enforce(self, after: int) -> None:
        """Asks for credentials from now on (0), or never (a huge number)."""
        url = f"{self.url}/moto-api/reset-auth"
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(url, data=str(after).encode(), headers=headers, method="POST")
        urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    log = (tmp_path_factory.mktemp("moto") / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=log,
        stderr=log,
        env={"PATH": os.environ["PATH"]},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield Server(url, {"AWS_ENDPOINT_URL": url, **_user(url)})
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def _user(url: str) -> dict[str, str]:
    """A user who may read the bucket `models` and no other."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    iam = boto3.client("iam", endpoint_url=url, region_name="us-east-1", **keys)
    iam.create_user(UserName="reader")
    may = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:CreateBucket"],
        "Resource": ["arn:aws:s3:::models", "arn:aws:s3:::models/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    bucket = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    bucket.create_bucket(Bucket="models")
    bucket.create_bucket(Bucket="secret")
    for path, data in {
        "llm/config.json": b"{}",
        "llm/tokenizer.json": b"{}",
        "llm/model.safetensors": WEIGHTS,
        "llm/pytorch_model.bin": b"pickled",
        "llm/sub/": b"",
        "llm/sub/notes.txt": b"notes",
        "llm-2/config.json": b"another model's, whose prefix begins alike",
        "single.onnx": b"onnx",
        "pickled/config.json": b"{}",
        "pickled/pytorch_model.bin": b"pickled",
    }.items():
        bucket.put_object(Bucket="models", Key=path, Body=data, ACL="public-read")
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def serve(server: Server, uri: str, home: Path, **more: str) -> Path:
    environ = {"HOME": str(home), **server.environ, **more}
    wanted = Wanted("", uri)
    return resolve(wanted, lambda *_: None, Retrying(attempts=3, wait=lambda seconds: False), environ)


def fetch(server: Server, uri: str, target: Path, **more: str) -> set[str]:
    state = runtime_state.State(name="", model_id="", revision=None)
    environ = {name: value for name, value in {**server.environ, **more}.items() if value}
    command.fetch(uri, target, state, environ, Retrying(attempts=3, wait=lambda seconds: False))
    files = [path for path in target.rglob("*") if path.is_file() and ".stoker-fetch" not in path.parts]
    return {path.relative_to(target).as_posix() for path in files}


def test_a_prefix_becomes_a_models_directory(server: Server, tmp_path: Path) -> None:
    path = serve(server, "s3://models/llm", tmp_path)
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert {each.name for each in path.iterdir()} == {
        ".stoker-fetch",
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "sub",
    }
    assert serve(server, "s3://models/llm/", tmp_path) == path
    # What serves from a directory does not see it change: other content, another directory.
    server.client.put_object(Bucket="models", Key="llm/tokenizer.json", Body=b"{ }", ACL="public-read")
    changed = serve(server, "s3://models/llm", tmp_path)
    assert changed != path
    assert (changed / "tokenizer.json").read_bytes() == b"{ }"
    assert (path / "tokenizer.json").read_bytes() == b"{}"


def test_an_init_container_takes_everything_but_pickles(server: Server, tmp_path: Path) -> None:
    assert fetch(server, "s3://models/llm", tmp_path / "a") == {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "sub/notes.txt",
    }
    assert fetch(server, "s3://models/single.onnx", tmp_path / "b") == {"single.onnx"}
    more = {"STOKER_ALLOW_PICKLE": "true"}
    assert "pytorch_model.bin" in fetch(server, "s3://models/llm", tmp_path / "c", **more)


def test_kserves_names_for_the_server_do_as_well(server: Server, tmp_path: Path) -> None:
    more = {
        "AWS_ENDPOINT_URL": "",
        "S3_ENDPOINT": server.url.removeprefix("http://"),
        "S3_USE_HTTPS": "0",
    }
    assert "config.json" in fetch(server, "s3://models/llm", tmp_path, **more)
    assert endpoint_of({"S3_ENDPOINT": "minio:9000"}) == "https://minio:9000"
    assert endpoint_of({"S3_ENDPOINT": "minio:9000", "AWS_ENDPOINT_URL": "http://x/"}) == "http://x"
    assert endpoint_of({}) is None


@pytest.mark.parametrize(
    ("uri", "more", "reason", "words"),
    [
        ("s3://none", {}, Reason.MODEL_NOT_FOUND, "There is no bucket none at http://"),
        ("s3://models/nothing", {}, Reason.MODEL_NOT_FOUND, "holds nothing below nothing"),
        ("s3://models/pickled", {}, Reason.PICKLE_REFUSED, "pytorch_model.bin"),
        (
            "s3://models/llm",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            Reason.STORAGE_UNREACHABLE,
            "127.0.0.1:9",
        ),
        ("s3://models/single.onnx", {}, None, ""),
    ],
)
def test_what_can_go_wrong_is_said(
    server: Server, tmp_path: Path, *, uri: str, more: dict[str, str], reason: Reason | None, words: str
) -> None:
    if reason is None:
        with pytest.raises(Failure, match="holds no model"):
            serve(server, uri, tmp_path)
        return
    with pytest.raises(Failure) as failure:
        serve(server, uri, tmp_path, **more)
    assert failure.value.reason is reason
    assert words in failure.value.message


@pytest.fixture
def enforced(server: Server) -> Iterator[Server]:
    server.enforce(0)
    yield server
    server.enforce(10**9)


@pytest.mark.parametrize(
    ("uri", "more", "reason", "words"),
    [
        ("s3://secret/x", {}, Reason.ACCESS_DENIED, "AccessDenied"),
        ("s3://models/llm", {"AWS_ACCESS_KEY_ID": "AKIA000"}, Reason.ACCESS_DENIED, "InvalidAccessKeyId"),
        ("s3://models/llm", {"AWS_SECRET_ACCESS_KEY": "no"}, Reason.ACCESS_DENIED, "SignatureDoesNotMatch"),
    ],
)
def test_credentials_that_the_server_refuses(
    enforced: Server, tmp_path: Path, *, uri: str, more: dict[str, str], reason: Reason, words: str
) -> None:
    assert "config.json" in fetch(enforced, "s3://models/llm", tmp_path / "good")
    with pytest.raises(Failure) as failure:
        fetch(enforced, uri, tmp_path / "bad", **more)
    assert failure.value.reason is reason
    assert words in failure.value.message
    assert "s3:GetObject" in failure.value.message
    assert enforced.environ["AWS_SECRET_ACCESS_KEY"] not in failure.value.message


def test_no_credentials_at_all(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    none = replace(server, environ={"AWS_ENDPOINT_URL": server.url})
    with pytest.raises(Failure) as failure:
        fetch(none, "s3://models/llm", tmp_path / "a")
    assert failure.value.reason is Reason.CREDENTIALS_MISSING
    assert "serving.kserve.io/storageSecretName" in failure.value.message
    assert "config.json" in fetch(none, "s3://models/llm", tmp_path / "b", awsAnonymousCredential="true")


async def test_a_cut_connection_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    async with cutting_proxy(server.url, cut_after=1_000_000, times=2) as proxy:
        target = tmp_path / "m"
        more = {"AWS_ENDPOINT_URL": proxy.url}
        await asyncio.to_thread(lambda: fetch(server, "s3://models/llm", target, **more))
        assert (target / "model.safetensors").read_bytes() == WEIGHTS
        assert proxy.cuts == 2
        _goes_on(proxy)


def _goes_on(proxy: CuttingProxy) -> None:
    asked = [each for path, each in proxy.ranges if path.endswith("model.safetensors")]
    starts = [0 if each is None else int(each.removeprefix("bytes=").split("-")[0]) for each in asked]
    # Less than one block short of what had come.
    assert len(starts) == 3
    assert 1_000_000 - 200_000 < starts[1] <= 1_000_000
    assert 1_000_000 - 200_000 < starts[2] - starts[1] <= 1_000_000


def test_pieces_of_one_object_come_side_by_side(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "_SMALLEST_PIECE", 200_000)
    fetch(server, "s3://models/llm", tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS


def test_an_object_that_changes_meanwhile_is_no_mixture(server: Server) -> None:
    server.client.put_object(Bucket="models", Key="changing/w", Body=b"1" * 100)
    source = S3Source("models", "changing", environ=server.environ)
    (file,) = source.look()
    assert b"".join(source.read(file, 10, 20)) == b"1" * 10
    server.client.put_object(Bucket="models", Key="changing/w", Body=b"2" * 100)
    with pytest.raises(Failure) as failure:
        list(source.read(file, 20, 30))
    assert failure.value.reason is Reason.CHECKSUM_MISMATCH
    assert "changed while it was fetched" in failure.value.message


def test_lists_longer_than_one_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 3)
    for number in range(8):
        server.client.put_object(Bucket="models", Key=f"many/{number}.txt", Body=b"x")
    files = S3Source("models", "many", environ=server.environ).look()
    assert [file.path for file in files] == [f"{number}.txt" for number in range(8)]


def test_a_key_that_would_leave_the_target_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = S3Source("models", "llm", environ=server.environ)
    listing = {
        "Contents": [{"Key": "llm/../../etc/cron.d/x", "ETag": '"t"', "Size": 1}],
        "IsTruncated": False,
    }
    monkeypatch.setattr(source._client, "list_objects_v2", lambda **asked: listing, raising=False)
    monkeypatch.setattr("runtime.storage.s3.S3Source", lambda *given, **named: source)
    with pytest.raises(Failure, match="no safe path"):
        fetch(server, "s3://models/llm", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_encrypted_objects_tag_is_not_taken_for_its_hash(server: Server, tmp_path: Path) -> None:
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key"}
    server.client.put_object(Bucket="models", Key="sealed/w.onnx", Body=b"weights", **kms)
    source = S3Source("models", "sealed", environ=server.environ)
    (file,) = source.look()
    lying = replace(file, digest=Digest("md5", "0" * 32))
    fetch_into(tmp_path, source, [lying], lambda *_: None, Retrying(attempts=1))
    assert (tmp_path / "w.onnx").read_bytes() == b"weights"
    plain = S3Source("models", "llm", environ=server.environ)
    config = next(file for file in plain.look() if file.path == "config.json")
    lying = replace(config, digest=Digest("md5", "0" * 32))
    with pytest.raises(Failure, match="does not have the checksum"):
        fetch_into(tmp_path / "plain", plain, [lying], lambda *_: None, Retrying(attempts=1))


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    self_signed(key, certificate)

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: Any) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as tls:
        tls.socket = context.wrap_socket(tls.socket, server_side=True)
        threading.Thread(target=tls.serve_forever, daemon=True).start()
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        safe = Server("", {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{tls.server_address[1]}", **keys})
        with pytest.raises(Failure, match="certificate that is not trusted") as failure:
            fetch(safe, "s3://models/llm", tmp_path / "m")
        assert failure.value.reason is Reason.STORAGE_UNREACHABLE
        for trusted in ({"AWS_CA_BUNDLE": str(certificate)}, {"S3_VERIFY_SSL": "0"}):
            with pytest.raises(Failure, match="There is no bucket models"):
                fetch(safe, "s3://models/llm", tmp_path / "m", **trusted)
        tls.shutdown()


def self_signed(key: Path, certificate: Path) -> None:
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(made.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(made, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8
    key.write_bytes(made.private_bytes(form, private, serialization.NoEncryption()))
    certificate.write_bytes(signed.public_bytes(form))


def test_busy_servers_are_asked_again(server: Server) -> None:
    source = S3Source("models", "llm", environ=server.environ)
    for code, status in (("SlowDown", 503), ("InternalError", 500)):
        response = {
            "Error": {"Code": code},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
        }
        assert isinstance(source._refusal(response, ""), Transient)
    elsewhere = {
        "Error": {"Code": "PermanentRedirect", "Message": "use the endpoint"},
        "ResponseMetadata": {"HTTPStatusCode": 301, "HTTPHeaders": {"x-amz-bucket-region": "eu-west-3"}},
    }
    assert "Set AWS_REGION=eu-west-3" in str(source._refusal(elsewhere, ""))
