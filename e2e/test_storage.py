"""Models named by storageUri: fetched, mounted, or refused with the reason, by real pods and volumes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster
from e2e.objects import inference_service
from tests.runtime.tiny import save_tiny_codegen

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
IMAGE = "stoker.dev/runtime:0.1.0"
SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
# Another program than Stoker's: it answers with the files that it finds below /mnt/models.
SERVE_FILES = [
    "python",
    "-c",
    "import functools, http.server as s\n"
    "handler = functools.partial(s.SimpleHTTPRequestHandler, directory='/mnt/models')\n"
    "s.ThreadingHTTPServer(('', 8080), handler).serve_forever()",
]


def stored(name: str, uri: str, *args: str, **model: Any) -> dict[str, Any]:
    return inference_service(name, *args, model={"storageUri": uri, "resources": SMALL, **model})


def custom_image(name: str, uri: str) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/config.json", "port": 8080}, "periodSeconds": 1}
    return stored(
        name,
        uri,
        image=IMAGE,
        command=SERVE_FILES,
        args=["unused"],
        startupProbe=probe,
        readinessProbe=probe,
        livenessProbe=probe,
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder of the machine with models in it, as an administrator would put them onto a volume. `codegen`
    is of an architecture that vLLM does not know.
    """
    cache = Path(os.environ.get("STOKER_CACHE") or Path.home() / ".cache" / "stoker") / "huggingface" / "hub"
    home = cache / f"models--{MODEL.replace('/', '--')}"
    snapshot = home / "snapshots" / (home / "refs" / "main").read_text().strip()
    made = Path(tempfile.mkdtemp(prefix="stoker-models-"))
    made.chmod(0o755)
    for path in snapshot.iterdir():
        target = made / "smollm2" / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    for path in save_tiny_codegen(made / "codegen").iterdir():
        path.chmod(0o644)  # weights are written for their owner alone
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def claim(cluster: Cluster, folder: Path) -> Iterator[str]:
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "models"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": "default", "name": "models"},
        },
    }
    claimed = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": "models",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [volume, claimed]}))
    try:
        yield "models"
    finally:
        cluster.kubectl("delete", "pvc/models", "-n", "default", "--wait=false")
        cluster.kubectl("delete", "pv/models", "--wait=false")


# S3's protocol by moto's server, with a bucket that only its own user may read.
S3_SERVER = """
import json, time, boto3
from moto import settings
from moto.server import ThreadedMotoServer

ThreadedMotoServer("0.0.0.0", 5000).start()
given = dict(endpoint_url="http://127.0.0.1:5000", region_name="us-east-1",
             aws_access_key_id="x", aws_secret_access_key="x")
s3 = boto3.client("s3", **given)
s3.create_bucket(Bucket="models")
for name in ("config.json", "model.safetensors"):
    s3.put_object(Bucket="models", Key="llm/" + name, Body=b"{}")
s3.put_object(Bucket="models", Key="big/model.safetensors", Body=bytes(8_000_000))
s3.put_object(Bucket="models", Key="big/config.json", Body=b"{}")
iam = boto3.client("iam", **given)
iam.create_user(UserName="reader")
allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=policy)
key = iam.create_access_key(UserName="reader")["AccessKey"]
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
print("made the key", key["AccessKeyId"], key["SecretAccessKey"], flush=True)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def bucket(cluster: Cluster) -> Iterator[str]:
    """The address of an S3 server in the cluster, whose keys are in the Secret `bucket-keys`."""
    container = {"name": "s3", "image": IMAGE, "command": ["python", "-c", S3_SERVER]}
    labels = {"name": "s3", "namespace": "default", "labels": {"app": "s3"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": labels, "spec": {"containers": [container]}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels,
        "spec": {"selector": {"app": "s3"}, "ports": [{"port": 5000}]},
    }
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod, service]}))
    try:
        said = cluster.wait(
            "the S3 server is ready",
            lambda: [
                line.split()[-2:]
                for line in cluster.kubectl("logs", "s3", check=False).splitlines()
                if line.startswith("made the key")
            ],
        )
        keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), said[0], strict=True))
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "bucket-keys"},
            "stringData": keys,
        }
        cluster.apply(secret)
        yield "s3:5000"
    finally:
        cluster.kubectl("delete", "pod/s3", "service/s3", "secret/bucket-keys", "--ignore-not-found", "--now")


def pod_of(cluster: Cluster, name: str) -> dict[str, Any]:
    (pod,) = cluster.get("pods", selector=f"serving.kserve.io/inferenceservice={name}")["items"]
    found: dict[str, Any] = pod
    return found


def test_models_from_a_volume_a_folder_and_the_hub(cluster: Cluster, claim: str, folder: Path) -> None:
    cluster.apply(stored("fallback", f"pvc://{claim}/codegen", "--backend=auto"))
    cluster.apply(stored("mounted", f"pvc://{claim}/smollm2", "--backend=huggingface"))
    cluster.apply(custom_image("fetched", f"hf://{MODEL}"))
    cluster.apply(stored("folder", f"file://{folder}/smollm2", "--backend=echo"))
    cluster.apply(stored("hub", f"hf://{MODEL}", "--backend=echo"))

    cluster.wait_ready("fetched", timeout=60)
    listed = cluster.run("curl", "-fsS", "-H", "Host: fetched.default.example.com", f"{cluster.ingress}/")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        line.split('"')[1] for line in listed.splitlines() if "href" in line
    }
    pod = pod_of(cluster, "fetched")
    (starting,) = pod["spec"]["initContainers"]
    assert starting["image"] == "stoker.dev/fetch:0.1.0"
    assert starting["securityContext"]["runAsNonRoot"] is True
    log = cluster.kubectl("logs", pod["metadata"]["name"], "-c", "storage-initializer")
    assert '"event": "fetched"' in log

    for name in ("folder", "hub"):
        cluster.wait_ready(name, timeout=60)
    state = json.loads(
        cluster.run(
            "curl", "-fsS", "-H", "Host: hub.default.example.com", f"{cluster.ingress}/stoker/v1/state"
        )
    )
    assert state["model"]["id"] == f"hf://{MODEL}"
    assert len(state["model"]["revision"]) == 40
    assert state["phases"]["Fetching"] >= 0

    isvc = cluster.wait_ready("mounted", timeout=90)
    assert isvc["status"]["summary"]["model"] == f"pvc://{claim}/smollm2"
    answer = cluster.client("mounted.default.example.com").completions.create(
        model="mounted", prompt="The capital of France is", max_tokens=4, temperature=0
    )
    assert "Paris" in answer.choices[0].text
    mounts = pod_of(cluster, "mounted")["spec"]["containers"][0]["volumeMounts"]
    assert {
        "name": "kserve-pvc-source",
        "mountPath": "/mnt/models",
        "readOnly": True,
        "subPath": "smollm2",
    } in mounts

    cluster.wait_ready("fallback", timeout=120)
    chosen = cluster.wait(
        "the reason of the backend",
        lambda: cluster.get("inferenceservice", "fallback")["status"].get("backend"),
    )
    assert chosen == {
        "revisionName": "fallback-predictor-00001",
        "name": "huggingface",
        "reason": "ArchitectureUnsupported",
    }
    client = cluster.client("fallback.default.example.com")
    for stream in (False, True):
        asked: dict[str, Any] = {"model": "fallback", "max_tokens": 3, "stream": stream}
        written = client.completions.create(prompt="Hi", **asked)
        chat = client.chat.completions.create(messages=[{"role": "user", "content": "Hi"}], **asked)
        for answer in (written, chat):
            last = list(answer)[-1] if stream else answer
            assert last.choices[0].finish_reason in ("length", "stop")


def with_keys(isvc: dict[str, Any], endpoint: str, secret: str) -> dict[str, Any]:
    isvc["metadata"]["annotations"] = {
        "serving.kserve.io/storageSecretName": secret,
        "serving.kserve.io/s3-endpoint": endpoint,
        "serving.kserve.io/s3-usehttps": "0",
    }
    return isvc


def test_a_bucket_with_the_secret_that_the_annotation_names(cluster: Cluster, bucket: str) -> None:
    cluster.apply(with_keys(stored("own", "s3://models/llm", "--backend=echo"), bucket, "bucket-keys"))
    cluster.apply(with_keys(custom_image("image", "s3://models/llm"), bucket, "bucket-keys"))
    cluster.apply(with_keys(stored("nokeys", "s3://models/llm", "--backend=echo"), bucket, "no-such-secret"))
    denied = with_keys(custom_image("denied", "s3://models/llm"), bucket, "bucket-keys")
    denied["spec"]["predictor"]["model"]["env"] = [{"name": "AWS_SECRET_ACCESS_KEY", "value": "wrong"}]
    cluster.apply(denied)
    # The runtime's cache on a disk of 4 MiB, for 8 MB of weights.
    small = with_keys(stored("small", "s3://models/big", "--backend=echo"), bucket, "bucket-keys")
    disk = {"name": "home", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}
    small["spec"]["predictor"]["volumes"] = [disk]
    cluster.apply(small)
    for name in ("own", "image"):
        cluster.wait_ready(name, timeout=60)
    cluster.wait_reason("small", "DiskFull", "has 4 MB free and 8 MB are still to be fetched", timeout=60)
    cluster.wait_reason("nokeys", "CreateContainerConfigError", "no-such-secret", timeout=60)
    cluster.wait_reason("denied", "AccessDenied", "SignatureDoesNotMatch", timeout=60)
    serving = pod_of(cluster, "image")["spec"]["containers"][0]
    assert not [each for each in serving["env"] if each["name"].startswith("AWS_")]


def test_what_cannot_be_fetched_says_why(cluster: Cluster, claim: str) -> None:
    wrong = {
        "unknown": (custom_image("unknown", "hf://org/none"), "HubUnreachable", "org/none"),
        "keyless": (
            stored("keyless", "s3://bucket/m", "--backend=echo"),
            "CredentialsMissing",
            "s3://bucket/m",
        ),
        "nowhere": (
            stored("nowhere", "file:///nowhere/at/all", "--backend=echo"),
            "FailedMount",
            "/nowhere/at/all",
        ),
        "empty": (stored("empty", f"pvc://{claim}/nothing", "--backend=echo"), "ModelInvalid", "it is empty"),
    }
    for isvc, _, _ in wrong.values():
        cluster.apply(isvc)
    for name, (_, reason, words) in wrong.items():
        cluster.wait_reason(name, reason, words, timeout=60)


def test_uris_are_refused_at_apply_with_what_was_meant(cluster: Cluster) -> None:
    for uri, words in {
        "hf:/org/model": "must begin with",
        "hff://org/model": 'did you mean "hf"?',
        "pvc://models/../other": "must not have '.' or '..'",
        "hf://org/model/sub": "no folder in it",
    }.items():
        said = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(stored("wrong", uri)), check=False)
        assert "spec.predictor.model.storageUri" in said
        assert words in said
    both = stored("wrong", f"hf://{MODEL}", "--model_id=a/b")
    said = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(both), check=False)
    assert "--model_id and storageUri both name a model" in said
