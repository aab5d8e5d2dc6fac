"""Which build of a runtime's image a pod gets: its tag, and the variant for the devices it asks for."""

from __future__ import annotations

from collections.abc import Iterable

from stoker.serving.api.reading import Object
from stoker.serving.settings import Accelerator, ImageVariants


def accelerators(containers: Iterable[Object], variants: ImageVariants) -> list[Accelerator]:
    """The rows of the table that the containers' limits and requests ask for, at least one device each."""
    found = []
    for container in containers:
        resources = container.get("resources") or {}
        asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
        for name, amount in sorted(asked.items()):
            row = variants.accelerator(name)
            if row is not None and str(amount) != "0" and row not in found:
                found.append(row)
    return found


def with_version(image: str, version: str) -> str:
    """The image with another tag. One that is named by digest stays: a digest is exact, a tag is not."""
    if "@" in image:
        return image
    repository, _ = _split_tag(image)
    return f"{repository}:{version}"


def with_variant(image: str, container: Object, variants: ImageVariants) -> str:
    """The image with the suffix for the container's devices: `stoker.dev/runtime:0.1.0-cuda`.

    Left alone where it is named by digest, has no tag, or names a variant already.
    """
    repository, tag = _split_tag(image)
    if "@" in image or not tag:
        return image
    suffixes = {variants.without_accelerator, *(row.image_suffix for row in variants.accelerators)}
    if any(suffix and tag.endswith(suffix) for suffix in suffixes):
        return image
    found = accelerators([container], variants)
    return f"{repository}:{tag}{found[0].image_suffix if found else variants.without_accelerator}"


def _split_tag(image: str) -> tuple[str, str]:
    # The last colon begins a tag only after the last slash: localhost:5000/runtime has none.
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag
