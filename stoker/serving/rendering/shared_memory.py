"""/dev/shm as large as engines need, which exchange tensors there: by itself a container has 64 MiB."""

from __future__ import annotations

from stoker.serving import quantities
from stoker.serving.api.reading import Object
from stoker.serving.settings import Settings

_PATH = "/dev/shm"
_SMALLEST = 64  # MiB: what a container has without
_NAMES = ("shm", "stoker-shm", "stoker-dev-shm")


def with_shared_memory(spec: Object, settings: Settings) -> Object:
    """The PodSpec with memory at /dev/shm of its first container; as it is where somebody saw to that."""
    serving, *others = spec["containers"]
    mounts = serving.get("volumeMounts") or []
    places = {str(mount.get("mountPath")).rstrip("/") for mount in mounts}
    volumes = spec.get("volumes") or []
    taken = {volume.get("name") for volume in volumes}
    free = next((name for name in _NAMES if name not in taken), None)
    if spec.get("hostIPC") or places & {_PATH, "/dev"} or free is None:
        return spec
    volume = {"name": free, "emptyDir": {"medium": "Memory", "sizeLimit": _size(serving, settings)}}
    mounted = serving | {"volumeMounts": [*mounts, {"name": free, "mountPath": _PATH}]}
    return spec | {"containers": [mounted, *others], "volumes": [*volumes, volume]}


def _size(container: Object, settings: Settings) -> str:
    """Half of the memory limit, which is Linux's own rule for such a folder: its pages count against it."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    try:
        mebibytes = int(quantities.parse(limit) / 2) >> 20 if limit is not None else None
    except ValueError:
        mebibytes = None  # reported where the merged container is checked
    if mebibytes is None:
        return str(settings.shared_memory)
    gibibytes, rest = divmod(mebibytes, 1024)
    return f"{max(mebibytes, _SMALLEST)}Mi" if rest or not gibibytes else f"{gibibytes}Gi"
