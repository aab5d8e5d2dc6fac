"""Where the model comes from: one place, and one that exists in shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.problems import FieldProblem, child, forbidden, invalid, required
from stoker.serving.rendering.arguments import parse_flags, value_of
from stoker.serving.rendering.storage import MOUNT, SECRET_ANNOTATION, URI_FLAG, fetches_itself, uri_field
from stoker.serving.rendering.storage_uri import is_model_id, read
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
    yield from _named(isvc, runtime, merged_args)
    yield from _revised(isvc, merged_args, field)
    if field is not None:
        yield from _both(isvc, merged_args, field[0])
    elif None not in (value_of(merged_args, "model_id"), value_of(merged_args, URI_FLAG)):
        yield forbidden(_place(isvc, URI_FLAG), f"--model_id names a model as well as --{URI_FLAG}; keep one")
    elif runtime is not None and not _names_a_model(isvc, runtime, merged_args):
        model = isvc.predictor.model
        path = child(model.path, "storageUri") if model else "spec.predictor.model.storageUri"
        yield required(path, 'which model to serve: storageUri ("hf://OWNER/MODEL"), or --model_id in args')


def _named(
    isvc: InferenceService, runtime: ServingRuntime | None, merged_args: Sequence[str]
) -> Iterator[FieldProblem]:
    """Problems of what the user's own flags name as the model. What is empty is a problem of the flag."""
    model = isvc.predictor.model
    if model is None:
        return
    echo = value_of(merged_args, "backend") == "echo"  # which loads nothing: any name will do
    for flag in parse_flags([str(each) for each in model.container.get("args") or []]):
        value = flag.values[0] if len(flag.values) == 1 else ""
        if flag.name not in _MODEL_FLAGS or not value or "$(" in value or "{{" in value:
            continue
        path = child(model.path, "args", flag.index)
        if flag.name == URI_FLAG:
            # Nothing is mounted for a flag: file:// names a folder that a volume or the image brings.
            uri, problems = read(value, path, file_uris=True)
            yield from problems
            if uri is not None and uri.scheme == "pvc" and not _mounted(isvc, runtime, merged_args):
                yield invalid(path, value, "no volume is mounted for a flag: write it as storageUri")
        elif not echo and (why := _no_model(flag.name, value)):
            yield invalid(path, value, why)


def _mounted(isvc: InferenceService, runtime: ServingRuntime | None, merged_args: Sequence[str]) -> bool:
    """Whether a volume brings the directory that the model is read from, or one above or below it."""
    wanted = (value_of(merged_args, "model_dir") or MOUNT).rstrip("/") + "/"
    places = [f"{path.rstrip('/')}/" for path in _mount_paths(isvc, runtime)]
    return any(wanted.startswith(each) or each.startswith(wanted) for each in places)


def _mount_paths(isvc: InferenceService, runtime: ServingRuntime | None) -> list[str]:
    model = isvc.predictor.model
    containers = [*([model.container] if model else []), *(runtime.containers if runtime else ())]
    mounts = [mount for each in containers for mount in each.get("volumeMounts") or []]
    return [str(mount.get("mountPath", "")) for mount in mounts]


def _no_model(name: str, value: str) -> str | None:
    """What is wrong with a directory, or with the id of a model or a directory."""
    if "://" in value:
        return f"is a storage URI: write --{URI_FLAG}={value}, or storageUri"
    if value.startswith(("/", "./")) or name == "model_dir":
        return "must not have '..' in its path" if ".." in value.split("/") else None
    if not is_model_id(value):
        return "must be OWNER/MODEL of the hub, or the path of a directory from the root"
    return None


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


def _revised(
    isvc: InferenceService, merged_args: Sequence[str], field: tuple[str, str] | None
) -> Iterator[FieldProblem]:
    """A revision of the model beside a storage URI that says which, or that has none."""
    text = field[1] if field is not None else value_of(merged_args, URI_FLAG)
    if text is None or value_of(merged_args, "model_revision") is None:
        return
    uri, _ = read(text, "", file_uris=True)
    if uri is not None and (uri.scheme != "hf" or uri.revision is not None):
        detail = f"{text} says which model already; only hf://OWNER/MODEL alone may have a --model_revision"
        yield forbidden(_place(isvc, "model_revision"), detail)


def _place(isvc: InferenceService, name: str) -> str:
    """Where the user's own flag stands; their arguments where it is the runtime's."""
    model = isvc.predictor.model
    path = child(model.path, "args") if model else "spec.predictor.model.args"
    own = parse_flags([str(each) for each in model.container.get("args") or []]) if model else ()
    return next((child(path, flag.index) for flag in own if flag.name == name), path)


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
    return any(path.startswith(MOUNT) for path in _mount_paths(isvc, runtime))
