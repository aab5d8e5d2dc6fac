"""How many devices a pod asks for, against how many its engine uses and how many a node has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from stoker.serving import quantities
from stoker.serving.admission.devices import near
from stoker.serving.admission.flags import canonical
from stoker.serving.api.objects import InferenceService
from stoker.serving.api.reading import Object
from stoker.serving.problems import MOST_HINTS, FieldProblem, child, invalid
from stoker.serving.rendering.arguments import Flag, parse_flags, value_of
from stoker.serving.rendering.merge import is_extended
from stoker.serving.settings import ImageVariants

# vLLM's names. A pod holds all ranks: they are multiplied, data parallel ones that run in it included.
_SIZES = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "prefill_context_parallel_size",
    "data_parallel_size",
)
_OF_THE_POD = "data_parallel_size_local"
_NUMBER = re.compile(r"[0-9]{1,9}")


def devices_of(container: Object) -> dict[str, int]:
    """The devices a container asks for: {"nvidia.com/gpu": 2}."""
    resources = container.get("resources") or {}
    wanted = (resources.get("requests") or {}) | (resources.get("limits") or {})
    return {name: _count(value) for name, value in wanted.items() if is_extended(name) and _count(value)}


def _accelerators(container: Object, variants: ImageVariants) -> dict[str, int]:
    """Those of a container's devices that compute. Others are beside them: adapters of the network, or
    shares of a device (nvidia.com/gpumem is HAMi's count of its mebibytes).
    """
    return {name: n for name, n in devices_of(container).items() if variants.accelerator(name) is not None}


def check(
    isvc: InferenceService,
    serving: Object,
    schema: Object,
    variants: ImageVariants,
) -> Iterator[FieldProblem]:
    """The engine's ranks against the devices of the serving container, the runtime's flags included.

    `variants`: the settings' list of accelerators.
    """
    model = isvc.predictor.model
    ranks, flags = _ranks(serving, schema)
    devices = _accelerators(serving, variants)
    count = sum(devices.values())
    if model is None or not flags or not count or ranks in (None, count):
        return
    own = parse_flags(model.container.get("args") or [])
    places = {canonical(flag, schema): flag.index for flag in own}
    sizes = " x ".join(f"{name} {size}" for name, size in flags.items())
    written = [name for name in flags if name in places]
    if written:
        path = child(model.path, "args", places[written[0]])
        value: object = " ".join(own_flag(own, places[written[0]]).words())
    else:
        path, value = child(model.path, "resources", "limits"), devices
    yield invalid(
        path, value, f"{sizes} needs {ranks} devices, and the container has {count}: make them equal"
    )


def warn(
    isvc: InferenceService,
    spec: Object,
    schema: Object,
    largest: Mapping[str, int] | None,
    variants: ImageVariants,
) -> Iterator[str]:
    """Devices that stay idle or are missing, and pods that no node has the devices for."""
    model = isvc.predictor.model
    path = model.path if model else "spec.predictor.containers[0]"
    serving = spec["containers"][0]
    if model is not None:
        yield from _idle(serving, schema, path, variants)
    asked: dict[str, int] = {}
    for container in spec["containers"]:
        for name, count in devices_of(container).items():
            asked[name] = asked.get(name, 0) + count
    for name, count in asked.items():
        if largest is not None and count > largest.get(name, 0):
            has = largest.get(name, 0)
            most = f"the largest node has {has}" if has else "no node has any"
            meant = near(name, largest) if not has and len(asked) <= MOST_HINTS else None
            hint = f'; did you mean "{meant}"?' if meant not in (None, name) else ""
            where = child(path, "resources", "limits", name)
            yield f"{where}: the pod asks for {count}, and {most}: it waits{hint}"


def _idle(serving: Object, schema: Object, path: str, variants: ImageVariants) -> Iterator[str]:
    ranks, flags = _ranks(serving, schema)
    count = sum(_accelerators(serving, variants).values())
    vllm = "tensor_parallel_size" in (schema.get("properties") or {})
    backend = value_of(serving.get("args") or [], "backend") or "auto"
    if not vllm or backend not in ("auto", "vllm"):
        return
    if not flags and count > 1:
        said = f"the container has {count} devices, and one is used: add --tensor_parallel_size={count}"
        yield f"{child(path, 'args')}: {said}"
    elif ranks is not None and ranks > 1 and not count and not devices_of(serving):
        yield f"{child(path, 'resources', 'limits')}: the flags ask for {ranks} devices, and there is none"


def _ranks(serving: Object, schema: Object) -> tuple[int | None, dict[str, int]]:
    """The product of the sizes that are set, and each; None where one is filled in later or no number."""
    given: dict[str, Flag] = {
        canonical(flag, schema): flag for flag in parse_flags(serving.get("args") or [])
    }
    if _OF_THE_POD in given and "data_parallel_size" in given:
        given["data_parallel_size"] = given[_OF_THE_POD]
    product, sizes = 1, {}
    for name in _SIZES:
        if name not in given:
            continue
        value = next(iter(given[name].values), "")
        if not _NUMBER.fullmatch(value):
            return None, {name: 0}
        sizes[name] = int(value)
        product *= int(value)
    return product, sizes


def own_flag(flags: tuple[Flag, ...], index: int) -> Flag:
    """The flag at a place in the arguments."""
    return next(flag for flag in flags if flag.index == index)


def _count(value: object) -> int:
    try:
        return int(quantities.parse(str(value)))
    except ValueError:
        return 0  # reported where resources are checked
