"""Where the model comes from: one place, and one that exists in shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.problems import FieldProblem, child, forbidden, required
from stoker.serving.rendering.arguments import parse_flags, value_of
from stoker.serving.rendering.storage import MOUNT, SECRET_ANNOTATION, URI_FLAG, fetches_itself, uri_field
from stoker.serving.rendering.storage_uri import read
from stoker.serving.settings import Settings

_MODEL_FLAGS = ("model_id", "model_dir", URI_FLAG)


def check_sources(
    isvc: InferenceService, runtime: ServingRuntime | None, merged_args: Sequence[str], settings: Settings
) -> Iterator[FieldProblem]:
    """Problems of the storage URI, of naming two models, and of naming none.

    `merged_args`: of the serving container, the runtime's with the user's over them.
    """
    field = uri_field(isvc)
    if field is not None:
        yield from read(field[1], field[0], file_uris=settings.file_uris)[1]
    if not fetches_itself(isvc, runtime):
        return  # which flags of another program name a model is not known
    if field is not None:
        yield from _both(isvc, merged_args, field[0])
    elif runtime is not None and not _names_a_model(isvc, runtime, merged_args):
        model = isvc.predictor.model
        path = child(model.path, "storageUri") if model else "spec.predictor.model.storageUri"
        yield required(path, 'which model to serve: storageUri ("hf://OWNER/MODEL"), or --model_id in args')


def source_warnings(isvc: InferenceService) -> Iterator[str]:
    """What somebody who comes from KServe would otherwise find out from a pod that has no credentials."""
    field, account = uri_field(isvc), isvc.predictor.pod_spec.get("serviceAccountName")
    if field is None or not account or field[1].partition("://")[0] not in ("hf", "s3"):
        return
    model = isvc.predictor.model
    containers = [model.container] if model else isvc.predictor.containers
    given = [str(each.get("name")) for one in containers for each in one.get("env") or []]
    if SECRET_ANNOTATION in isvc.annotations or any(one.get("envFrom") for one in containers):
        return
    if not any(name.startswith(("AWS_", "HF_TOKEN")) for name in given):
        yield (
            f"{field[0]}: Secrets attached to ServiceAccount {account} are not read; name the one with the "
            f"credentials in the annotation {SECRET_ANNOTATION}, unless the account's role is enough"
        )


def _both(isvc: InferenceService, merged_args: Sequence[str], path: str) -> Iterator[FieldProblem]:
    model = isvc.predictor.model
    own = model.container.get("args") if model else None
    places = {flag.name: flag.index for flag in parse_flags([str(each) for each in own or []])}
    for name in _MODEL_FLAGS:
        given = value_of(list(merged_args), name)
        if given is None or (name == "model_dir" and given.rstrip("/") == MOUNT):
            continue
        if name == URI_FLAG and name not in places:
            continue  # the one that rendering has put there
        at = child(model.path, "args", places[name]) if model and name in places else path
        yield forbidden(at, f"--{name} and storageUri both name a model; leave one of them out")


def _names_a_model(isvc: InferenceService, runtime: ServingRuntime, merged_args: Sequence[str]) -> bool:
    args = list(merged_args)
    if any(value_of(args, name) is not None for name in _MODEL_FLAGS) or value_of(args, "backend") == "echo":
        return True
    model = isvc.predictor.model
    mounts = [*((model.container.get("volumeMounts") or []) if model else [])]
    mounts += [mount for each in runtime.containers for mount in each.get("volumeMounts") or []]
    return any(str(mount.get("mountPath", "")).startswith(MOUNT) for mount in mounts)
