"""The model named by `storageUri`, as part of a pod.

Stoker's own runtime gets the URI as a flag and fetches during its start, where its progress is seen. Any
other image finds the model below /mnt/models, as KServe users expect: an init container fetches hf:// and
s3://; pvc:// and file:// are mounted there as they are.
"""

from __future__ import annotations

import fnmatch
from typing import Any

from stoker.serving import names, quantities
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child
from stoker.serving.rendering.arguments import merge_args, value_of
from stoker.serving.rendering.expansion import expand, join_literally
from stoker.serving.rendering.storage_credentials import SECRET_ANNOTATION, annotations_used, with_credentials
from stoker.serving.rendering.storage_names import (
    CLAIM_VOLUME,
    FETCHED_VOLUME,
    FOLDER_VOLUME,
    INITIALIZER,
    MOUNT,
    SCRATCH_VOLUME,
    taken,
)
from stoker.serving.rendering.storage_uri import StorageUri, read
from stoker.serving.settings import Settings

FETCHES_ANNOTATION = f"{names.DOMAIN}/fetches"
READ_ONLY_ANNOTATION = "storage.kserve.io/readonly"
URI_FLAG = "storage_uri"
URI_VARIABLE = "STORAGE_URI"  # KServe's way to name a model for containers of one's own

_IMAGE_USER = 65532

# Of the serving container's environment, what says how models are fetched. What says where that container
# keeps its files, and that it must not ask the hub again, is its own.
_COPIED = [
    "AWS_*",
    "S3_*",
    "HF_*",
    "HUGGING_FACE_HUB_TOKEN",
    "awsAnonymousCredential",
    "STOKER_ALLOW_PICKLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "*_PROXY",
    "*_proxy",
]
_KEPT = frozenset(
    {"HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE"}
)


def uri_field(isvc: InferenceService) -> tuple[str, str] | None:
    """Path and text of the storage URI; None where the InferenceService has none."""
    model = isvc.predictor.model
    if model is not None:
        return (child(model.path, "storageUri"), model.storage_uri) if model.storage_uri else None
    for number, container in enumerate(isvc.predictor.containers):
        if container.get("name") == names.MODEL_CONTAINER or len(isvc.predictor.containers) == 1:
            for place, variable in enumerate(container.get("env") or []):
                if variable.get("name") == URI_VARIABLE and variable.get("value"):
                    path = child("spec.predictor.containers", number, "env", place, "value")
                    return path, str(variable["value"])
    return None


def fetches_itself(isvc: InferenceService, runtime: ServingRuntime | None) -> bool:
    """Whether the serving container is Stoker's own runtime, which takes the URI as a flag."""
    model = isvc.predictor.model
    own = runtime is not None and runtime.annotations.get(FETCHES_ANNOTATION) == "true"
    replaced = model is None or model.container.get("image") or model.container.get("command")
    return own and not replaced


def annotations_read(isvc: InferenceService) -> frozenset[str]:
    """Keys of the InferenceService's annotations that shape its pods by `apply_storage`."""
    if uri_field(isvc) is None:
        return frozenset()
    return annotations_used(isvc.annotations) | (isvc.annotations.keys() & {READ_ONLY_ANNOTATION})


def apply_storage(
    spec: Object,
    isvc: InferenceService,
    runtime: ServingRuntime | None,
    settings: Settings,
    problems: list[FieldProblem],
) -> Object:
    """The pod with the model that the InferenceService's storage URI names; unchanged where it names none.

    What is wrong with the URI is added to `problems`. Placeholders are not searched for in what is added.
    """
    field = uri_field(isvc)
    if field is None:
        return spec
    uri, found = read(field[1], field[0], file_uris=settings.file_uris)
    own = fetches_itself(isvc, runtime)
    if uri is not None and (not own or uri.scheme in ("pvc", "file")):
        found += taken(spec, isvc.predictor, uri.scheme, field[0])
    problems += found
    if uri is None or found:
        return spec
    serving, *others = spec["containers"]
    if own:
        flag = join_literally(f"--{URI_FLAG}=", uri.text)
        serving = serving | {"args": merge_args(serving.get("args") or [], [flag])}
    if uri.scheme in ("pvc", "file"):
        volume, mount = _mounted(uri, writable=isvc.annotations.get(READ_ONLY_ANNOTATION) == "false")
        return _with_volume(spec, [_with_mount(serving, mount), *others], volume)
    trusted = with_credentials(serving, uri, isvc.annotations)
    if own:
        return spec | {"containers": [trusted, *others]}
    # The image that serves needs no credentials to read what another fetched.
    starting = _initializer(uri, trusted, spec, settings)
    made = _with_volume(
        spec,
        [_with_mount(serving, _mount(FETCHED_VOLUME, readOnly=True)), *others],
        {"name": FETCHED_VOLUME, "emptyDir": {}},
        {"name": SCRATCH_VOLUME, "emptyDir": {}},
    )
    # First: init containers of the user's may want to look at the model.
    return made | {"initContainers": [starting, *(spec.get("initContainers") or [])]}


def source_of(template: Object) -> str | None:
    """The storage URI that a pod template was rendered for; None where it was for none."""
    spec = template.get("spec") or {}
    for container in (spec.get("containers") or [])[:1]:
        if value := value_of(container.get("args") or [], URI_FLAG):
            return expand(value, {})
    for container in spec.get("initContainers") or []:
        if container.get("name") == INITIALIZER and container.get("args"):
            return expand(str(container["args"][0]), {})
    return _source_of_volume(spec)


def _source_of_volume(spec: Object) -> str | None:
    for volume in spec.get("volumes") or []:
        if volume.get("name") == CLAIM_VOLUME and volume.get("persistentVolumeClaim"):
            mounts = spec["containers"][0].get("volumeMounts") or []
            path = next((each.get("subPath", "") for each in mounts if each["name"] == CLAIM_VOLUME), "")
            return f"pvc://{volume['persistentVolumeClaim']['claimName']}/{path}".rstrip("/")
        if volume.get("name") == FOLDER_VOLUME and volume.get("hostPath"):
            return f"file://{volume['hostPath']['path']}"
    return None


def _mounted(uri: StorageUri, *, writable: bool) -> tuple[Object, Object]:
    """The volume of a pvc:// or file:// URI and where the serving container sees it."""
    if uri.scheme == "file":
        # Type Directory: else a folder that does not exist is made, by root.
        volume = {"name": FOLDER_VOLUME, "hostPath": {"path": uri.path, "type": "Directory"}}
        return volume, _mount(FOLDER_VOLUME, readOnly=True)
    volume = {"name": CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": uri.place}}
    below = {"subPath": uri.path} if uri.path else {}
    return volume, _mount(CLAIM_VOLUME, readOnly=not writable, **below)


def _initializer(uri: StorageUri, serving: Object, spec: Object, settings: Settings) -> Object:
    """The container that fetches before the others start."""
    env = [each for each in serving.get("env") or [] if _is_copied(str(each.get("name")))]
    home = {"name": "HOME", "value": "/tmp"}
    mounts = [_mount(FETCHED_VOLUME), {"name": SCRATCH_VOLUME, "mountPath": "/tmp"}]
    security: Object = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod_user = (spec.get("securityContext") or {}).get("runAsUser")
    if not pod_user:
        # A pod whose own image runs as root, or as a user that only its image names.
        security |= {"runAsUser": _IMAGE_USER, "runAsGroup": _IMAGE_USER}
    made: Object = {
        "name": INITIALIZER,
        "image": settings.fetch_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "runtime", "fetch"],
        "args": [join_literally("", uri.text), MOUNT],
        "env": [*env, home],
        "resources": _resources(serving, settings),
        "volumeMounts": [*mounts, *_files_of(env, serving)],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security,
    }
    if serving.get("envFrom"):
        made["envFrom"] = serving["envFrom"]
    return made


def _resources(serving: Object, settings: Settings) -> Object:
    """What the settings say, or the serving container's where that is more: a pod is given the larger of its
    init containers' and its containers' anyway.
    """
    given = serving.get("resources") or {}
    made: Object = {}
    for part, usual in settings.fetch_resources.items():
        asked = given.get(part) or {}
        made[part] = {name: _larger(value, asked.get(name)) for name, value in usual.items()}
    for name, request in (made.get("requests") or {}).items():
        limit = (made.get("limits") or {}).get(name)
        if limit is not None and _larger(request, limit) != limit:
            made["limits"][name] = request
    return made


def _larger(usual: Any, given: Any) -> Any:
    try:
        return given if given is not None and quantities.parse(given) >= quantities.parse(usual) else usual
    except ValueError:
        return usual  # reported where the serving container is checked


def _is_copied(name: str) -> bool:
    return name not in _KEPT and any(fnmatch.fnmatchcase(name, pattern) for pattern in _COPIED)


def _files_of(env: list[Object], serving: Object) -> list[Object]:
    """Mounts of the serving container that the copied variables point into: certificates, credentials."""
    values = [str(each.get("value") or "") for each in env]
    return [
        mount | {"readOnly": True}
        for mount in serving.get("volumeMounts") or []
        if any(value.startswith(f"{str(mount.get('mountPath')).rstrip('/')}/") for value in values)
    ]


def _with_mount(container: Object, mount: Object) -> Object:
    return container | {"volumeMounts": [*(container.get("volumeMounts") or []), mount]}


def _with_volume(spec: Object, containers: list[Object], *volumes: Object) -> Object:
    return spec | {"containers": containers, "volumes": [*(spec.get("volumes") or []), *volumes]}


def _mount(volume: str, **more: Any) -> Object:
    return {"name": volume, "mountPath": MOUNT, **more}


__all__ = [
    "FETCHES_ANNOTATION",
    "INITIALIZER",
    "MOUNT",
    "SECRET_ANNOTATION",
    "annotations_read",
    "apply_storage",
    "fetches_itself",
    "source_of",
    "uri_field",
]
