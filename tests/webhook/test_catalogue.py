"""The runtimes that reviews know follow what the informers tell."""

from __future__ import annotations

import asyncio

from tests.webhook.objects import Object, cluster_runtime, namespaced_runtime
from webhook.catalogue import Catalogue


def names(catalogue: Catalogue, namespace: str) -> set[tuple[str, str]]:
    return {(runtime.scope, runtime.name) for runtime in catalogue.usable_in(namespace)}


def test_a_namespace_has_its_own_runtimes_and_the_clusters() -> None:
    catalogue = Catalogue()
    shared, own = cluster_runtime(), namespaced_runtime("own", "a")
    for obj in (shared, own, namespaced_runtime("own", "b"), namespaced_runtime("more", "b")):
        catalogue.changed(None, obj)
    cluster = ("cluster", shared["metadata"]["name"])
    assert names(catalogue, "a") == {cluster, ("namespaced", "own")}
    assert names(catalogue, "b") == {cluster, ("namespaced", "own"), ("namespaced", "more")}
    assert names(catalogue, "c") == names(catalogue, "") == {cluster}
    assert [each.name for each in catalogue.usable_in("b")] == ["more", "own", cluster[1]], "by name"
    catalogue.changed(own, None)
    catalogue.changed(shared, None)
    assert names(catalogue, "a") == set()
    assert names(catalogue, "b") == {("namespaced", "own"), ("namespaced", "more")}


async def test_waiting_ends_with_a_runtime_that_the_namespace_can_use() -> None:
    catalogue = Catalogue()
    waiting = asyncio.create_task(catalogue.other_than((), "a"))
    for obj in (namespaced_runtime("own", "b"), cluster_runtime()):
        await asyncio.sleep(0)
        assert not waiting.done()
        catalogue.changed(None, obj)
    await waiting
    await catalogue.other_than((), "a")


def test_a_change_replaces_what_was_known_and_damage_removes_it() -> None:
    sizes: list[tuple[int, int]] = []
    catalogue = Catalogue(lambda usable, unreadable: sizes.append((usable, unreadable)))
    first = namespaced_runtime("own", "a")
    disabled, unreadable = namespaced_runtime("own", "a"), namespaced_runtime("own", "a")
    disabled["spec"]["disabled"] = True
    unreadable["spec"]["containers"] = "none"
    before: Object | None = None
    for obj in (first, disabled, unreadable, first):
        catalogue.changed(before, obj)
        before = obj
    assert sizes == [(1, 0), (1, 0), (0, 1), (1, 0)]
    assert [runtime.disabled for runtime in catalogue.usable_in("a")] == [False]
    catalogue.changed(first, unreadable)
    catalogue.changed(unreadable, None)
    assert sizes[-1] == (0, 0)
