"""What Stoker adds to a pod for its storageUri is called so, and must not be there already."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from stoker.serving.api.objects import Predictor
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child, duplicate, forbidden

MOUNT = "/mnt/models"
INITIALIZER = "storage-initializer"

# KServe's names: sidecars of users mount these volumes.
FETCHED_VOLUME = "kserve-provision-location"
CLAIM_VOLUME = "kserve-pvc-source"
FOLDER_VOLUME = "model-folder"
SCRATCH_VOLUME = f"{INITIALIZER}-tmp"
_OF_SCHEME = {"pvc": (CLAIM_VOLUME,), "file": (FOLDER_VOLUME,)}


def volumes_of(scheme: str) -> tuple[str, ...]:
    """The volumes that are added for a URI of this scheme where the serving container does not fetch."""
    return _OF_SCHEME.get(scheme, (FETCHED_VOLUME, SCRATCH_VOLUME))


def taken(spec: Object, predictor: Predictor, scheme: str, path: str) -> Iterator[FieldProblem]:
    """Mounts, volumes and containers of the user's or the runtime's where those of the model would be.

    `path`: of the storage URI. A problem stands where the user wrote the name, else there.
    """
    for mount in spec["containers"][0].get("volumeMounts") or []:
        where = str(mount.get("mountPath", "")).rstrip("/")
        if where == MOUNT:
            yield forbidden(path, f"volume {mount.get('name')} is mounted at {MOUNT} too; leave one out")
    added = volumes_of(scheme)
    yield from _doubles(spec, predictor, "volumes", added, path)
    if scheme not in _OF_SCHEME:
        for kind in ("initContainers", "containers"):
            yield from _doubles(spec, predictor, kind, (INITIALIZER,), path)


def _doubles(
    spec: Object, predictor: Predictor, kind: str, added: Collection[str], path: str
) -> Iterator[FieldProblem]:
    mine: dict[str, int] = {}
    given = predictor.raw.get(kind)
    for number, each in enumerate(given if isinstance(given, list) else []):
        if isinstance(each, dict):
            mine.setdefault(str(each.get("name")), number)
    what = "a volume" if kind == "volumes" else "an init container"
    for each in spec.get(kind) or []:
        name = each.get("name")
        if name not in added:
            continue
        if name in mine:
            detail = f"Stoker adds {what} of this name for storageUri; call yours otherwise"
            yield duplicate(child("spec.predictor", kind, mine[name], "name"), name, detail)
        else:
            detail = (
                f"Stoker adds {what} called {name} for it, and the runtime has one of this name in {kind}"
            )
            yield forbidden(path, detail)
