"""Which build of a runtime's image a pod gets: its tag, and the variant for the devices it asks for."""

from __future__ import annotations

from collections.abc import Iterable

from stoker.serving import names
from stoker.serving.api.objects import ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.rendering.merge import is_extended
from stoker.serving.settings import Accelerator, ImageVariants

# KServe's own images. A build for GPUs of these has another tag; vLLM's image for CPUs is another repository.
# Source: UpdateImageTag in kserve pkg/controller/v1beta1/inferenceservice/utils/utils.go (v0.20).
_TAGGED = frozenset({"huggingfaceserver", "tfserving", "torchserve"})
_VLLM = "vllmserver"
_KSERVE_RUNTIMES = {
    "kserve-huggingfaceserver": "huggingfaceserver",
    "kserve-huggingfaceserver-multinode": "huggingfaceserver",
    "kserve-tensorflow-serving": "tfserving",
    "kserve-torchserve": "torchserve",
    "kserve-vllmserver": _VLLM,
}


def with_build(image: str, container: Object, runtime: ServingRuntime, variants: ImageVariants) -> str:
    """The image of the runtime's serving container, as the build that its devices need."""
    if runtime.annotations.get(names.IMAGE_VARIANTS_ANNOTATION) == "true":
        return with_variant(image, container, variants)
    kind = runtime.annotations.get(names.SERVER_TYPE_ANNOTATION) or _KSERVE_RUNTIMES.get(runtime.name, "")
    return with_kserve_build(image, container, kind, variants)


def with_version(image: str, version: str) -> str:
    """The image with another tag. One that is named by digest stays: a digest is exact, a tag is not."""
    if "@" in image:
        return image
    repository, _ = _split_tag(image)
    return f"{repository}:{version}"


def with_variant(image: str, container: Object, variants: ImageVariants) -> str:
    """The image with the suffix for the container's devices: `stoker.dev/runtime:0.1.0-cuda`.

    Left alone where it is named by digest, has no tag, names a variant already, or has no build for a device.
    """
    repository, tag = _split_tag(image)
    if "@" in image or not tag or unbuilt([container], variants):
        return image
    suffixes = {variants.without_accelerator, *(row.image_suffix for row in variants.accelerators)}
    if any(suffix and tag.endswith(suffix) for suffix in suffixes):
        return image
    found = accelerators([container], variants)
    return f"{repository}:{tag}{found[0].image_suffix if found else variants.without_accelerator}"


def with_kserve_build(image: str, container: Object, server_type: str, variants: ImageVariants) -> str:
    """KServe's image for the container's devices, by KServe's rule, for each vendor that the table knows.

    A device that it does not know leaves the image alone: a build for CPUs would not find it either.
    """
    repository, tag = _split_tag(image)
    if "@" in image or not tag:
        return image
    found = accelerators([container], variants)
    if server_type in _TAGGED and found:
        suffix = found[0].kserve_suffix
        return image if image.endswith(suffix) else image + suffix
    if server_type == _VLLM and not devices(container) and not repository.endswith("-cpu"):
        return f"{repository}-cpu:{tag}"
    return image


def accelerators(containers: Iterable[Object], variants: ImageVariants) -> list[Accelerator]:
    """The rows of the table that the containers' limits and requests ask for, at least one device each."""
    found: list[Accelerator] = []
    for name in (name for each in containers for name in devices(each)):
        row = variants.accelerator(name)
        if row is not None and row not in found:
            found.append(row)
    return found


def unbuilt(containers: Iterable[Object], variants: ImageVariants) -> list[str]:
    """Accelerators that the containers ask for and that runtimes with variants have no image for."""
    asked = [name for each in containers for name in devices(each)]
    return [name for name in asked if (row := variants.accelerator(name)) and row.image_suffix is None]


def devices(container: Object) -> list[str]:
    """Names of the devices that a container asks for, at least one of each, sorted."""
    resources = container.get("resources") or {}
    asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return [name for name, amount in sorted(asked.items()) if is_extended(name) and str(amount) != "0"]


def _split_tag(image: str) -> tuple[str, str]:
    # The last colon begins a tag only after the last slash: localhost:5000/runtime has none.
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag
