"""Credentials of a storage URI: from the container's own environment, or the Secret that an annotation names.

Stoker reads no Secret. The kubelet does, by references from the pod, so what KServe keeps in annotations of
the Secret (the endpoint, the region) is read from annotations of the InferenceService.
"""

from __future__ import annotations

from collections.abc import Mapping

from stoker.serving.api.reading import Object
from stoker.serving.rendering.expansion import join_literally
from stoker.serving.rendering.storage_uri import StorageUri

_PREFIX = "serving.kserve.io/"
SECRET_ANNOTATION = f"{_PREFIX}storageSecretName"
# KServe's annotations, and the variables that its storage initializer gets of them.
S3_ANNOTATIONS = {
    f"{_PREFIX}s3-endpoint": "S3_ENDPOINT",
    f"{_PREFIX}s3-usehttps": "S3_USE_HTTPS",
    f"{_PREFIX}s3-region": "AWS_REGION",
    f"{_PREFIX}s3-verifyssl": "S3_VERIFY_SSL",
    f"{_PREFIX}s3-usevirtualbucket": "S3_USER_VIRTUAL_BUCKET",
    f"{_PREFIX}s3-useanoncredential": "awsAnonymousCredential",
}
_REQUIRED = {"hf": ("HF_TOKEN",), "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
_OPTIONAL = {
    "hf": ("HF_ENDPOINT",),
    "s3": ("AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "S3_ENDPOINT"),
}


def annotations_used(annotations: Mapping[str, str]) -> frozenset[str]:
    """Those of the annotations that shape a pod here."""
    return frozenset(annotations.keys() & {SECRET_ANNOTATION, *S3_ANNOTATIONS})


def with_credentials(container: Object, uri: StorageUri, annotations: Mapping[str, str]) -> Object:
    """The container with what the annotations say in its environment; its own variables stay as they are."""
    env: list[Object] = []
    if uri.scheme == "s3":
        for name, variable in S3_ANNOTATIONS.items():
            if annotations.get(name):
                env.append({"name": variable, "value": join_literally("", annotations[name])})
    secret = annotations.get(SECRET_ANNOTATION)
    if secret:
        # A missing Secret, or one without these keys, keeps the container from being made and says so.
        env += [_reference(secret, key) for key in _REQUIRED.get(uri.scheme, ())]
        env += [_reference(secret, key, optional=True) for key in _OPTIONAL.get(uri.scheme, ())]
    own = list(container.get("env") or [])
    taken = {each.get("name") for each in own}
    added: list[Object] = []
    for each in env:
        if each["name"] not in taken:
            taken.add(each["name"])
            added.append(each)
    return container | {"env": [*own, *added]} if added else container


def _reference(secret: str, key: str, *, optional: bool = False) -> Object:
    source: Object = {"name": secret, "key": key}
    return {"name": key, "valueFrom": {"secretKeyRef": source | ({"optional": True} if optional else {})}}
