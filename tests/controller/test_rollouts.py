"""Rollouts through the API: hand-over, Recreate, canaries, and that traffic moves before pods go."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.resources import INFERENCE_SERVICES
from stoker.kube.resource import DEPLOYMENTS, EVENTS, PODS
from stoker.serving.settings import Settings
from stoker.serving.status.pods import is_ready
from tests.controller.world import (
    GPU_MESSAGE,
    World,
    crashing,
    eventually,
    ready,
    starting,
    status_of,
    unschedulable,
)

pytestmark = pytest.mark.apiserver

GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}


def waiting_for_the_gpu_of(world: World, revision: str):  # type: ignore[no-untyped-def]
    """Unschedulable as long as a pod of that revision is there."""
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def fate(pod):  # type: ignore[no-untyped-def]
        held = world.log.count(f"start {revision}") > world.log.count(f"end {revision}")
        return unschedulable(GPU_MESSAGE, since)(pod) if held else ready(pod)

    return fate


async def test_the_seeds_walk_hands_the_gpu_over(world: World) -> None:
    settings = Settings(hand_over_after=2.0)
    async with world.controller(settings), world.nodes():
        await world.apply("a", model=GPU)
        await world.ready("a")
        world.fates["a-predictor-00002"] = waiting_for_the_gpu_of(world, "a-predictor-00001")
        await world.apply("a", "--backend=huggingface", model=GPU)
        condition = await world.reason("a", "Unschedulable")
        assert GPU_MESSAGE in condition["message"], "the scheduler's words, verbatim"
        assert "holds nvidia.com/gpu and hands over at" in condition["message"]
        assert "a-predictor-00001 still serves" in condition["message"]
        status = await world.ready("a", 2)
    assert status["components"]["predictor"]["traffic"] == [
        {"revisionName": "a-predictor-00002", "latestRevision": True, "percent": 100}
    ]
    events = (await world.client.list(EVENTS, namespace=world.namespace)).items
    assert [each["type"] for each in events if each["reason"] == "HandOver"] == ["Warning"]


async def test_recreate_ends_the_old_pods_first_and_at_once(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a", model=GPU, deploymentStrategy={"type": "Recreate"})
        await world.ready("a")
        world.fates["a-predictor-00002"] = waiting_for_the_gpu_of(world, "a-predictor-00001")
        await world.apply("a", "--backend=huggingface", model=GPU, deploymentStrategy={"type": "Recreate"})
        await world.ready("a", 2)
    ended = world.log.index("end a-predictor-00001")
    assert ended < world.log.index("start a-predictor-00002")


async def test_a_controller_that_dies_during_a_hand_over_goes_on_with_it(world: World) -> None:
    settings = Settings(hand_over_after=0.1)
    async with world.nodes():
        async with world.controller(settings):
            await world.apply("a", model=GPU, minReplicas=2)
            await world.ready("a")
            world.fates["a-predictor-00002"] = starting
        since = "2026-01-01T00:00:00Z"
        world.fates["a-predictor-00002"] = unschedulable(GPU_MESSAGE, since)
        async with world.controller(settings):
            await world.apply("a", "--backend=huggingface", model=GPU, minReplicas=2)

            async def one_left() -> bool:
                return len((await world.pods()).get("a-predictor-00001", [])) == 1

            await eventually(one_left)
        world.fates["a-predictor-00002"] = starting  # it found its node
        async with world.controller(Settings(hand_over_after=3600.0)) as wire:
            await world.quiet(wire)
            assert len((await world.pods())["a-predictor-00001"]) == 1, "not brought back"
            del world.fates["a-predictor-00002"]
            await world.ready("a", 2)


async def test_a_canary_is_held_promoted_and_taken_back(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a", minReplicas=2)
        await world.ready("a")
        await world.apply("a", "--x=2", minReplicas=2, canaryTrafficPercent=10)
        both = [
            {"revisionName": "a-predictor-00002", "latestRevision": True, "percent": 10},
            {"revisionName": "a-predictor-00001", "percent": 90, "tag": "prev"},
        ]

        async def weighed() -> bool:
            status = await world.status("a")
            ready = (await world.condition("a"))["status"] == "True"
            return bool(status["components"]["predictor"].get("traffic") == both and ready)

        await eventually(weighed)
        pods = await world.pods()
        assert {name: len(each) for name, each in pods.items()} == {
            "a-predictor-00001": 2,
            "a-predictor-00002": 1,
        }
        status = await world.status("a")
        assert status["components"]["predictor"]["latestRolledoutRevision"] == "a-predictor-00001"
        await world.apply("a", "--x=2", minReplicas=2, canaryTrafficPercent=0)

        async def pinned() -> bool:
            traffic = (await world.status("a"))["components"]["predictor"]["traffic"]
            return [each["percent"] for each in traffic] == [0, 100]

        await eventually(pinned)
        await world.apply("a", "--x=2", minReplicas=2)
        await world.ready("a", 2)


async def test_pods_go_only_after_traffic_was_moved_and_ready_ones_never_run_short(world: World) -> None:
    """Watch the store itself: every version of the status, every Deployment."""
    seen: list[str] = []

    async with world.controller(), world.nodes():
        await world.apply("a", minReplicas=3)
        await world.ready("a")
        for number in range(2, 4):
            await world.apply("a", f"--x={number}", minReplicas=3)

            async def rolled() -> bool:
                pods = (await world.client.list(PODS, namespace=world.namespace)).items
                serving = [pod for pod in pods if is_ready(pod)]
                assert len(serving) >= 3, f"only {len(serving)} ready: {world.log[-10:]}"
                assert len(pods) <= 4, "more than replicas + maxSurge"
                status = await world.status("a")
                traffic = status["components"]["predictor"]["traffic"]
                ready = {pod["metadata"]["labels"]["stoker.dev/revision"] for pod in serving}
                assert {each["revisionName"] for each in traffic if each["percent"]} <= ready
                seen.append(str([each["percent"] for each in traffic]))
                rolled_out = status["components"]["predictor"]["latestRolledoutRevision"]
                return bool(rolled_out == f"a-predictor-{number:05d}")  # noqa: B023

            await eventually(rolled)
    assert len(set(seen)) > 2, "traffic moved in steps"
    assert await world.names(DEPLOYMENTS) == ["a-predictor-00003"]


async def test_a_new_spec_before_the_last_one_was_ready(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a")
        await world.ready("a")
        world.fates["a-predictor-00002"] = crashing("boom")
        await world.apply("a", "--x=2")
        await world.reason("a", "CrashLoopBackOff")
        await world.apply("a", "--x=3")
        await world.ready("a", 3)
        assert await world.names(DEPLOYMENTS) == ["a-predictor-00003"]
        assert world.log.count("end a-predictor-00001") == 1


async def test_pods_that_die_are_told_and_so_is_their_recovery(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a")
        await world.ready("a")
        ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:05Z"}
        world.fates["a-predictor-00001"] = lambda pod: status_of(
            pod, state={"running": {"startedAt": "2026-01-01T00:00:09Z"}}, last={"terminated": ended}
        )
        condition = await world.reason("a", "OOMKilled")
        assert condition["status"] == "False"
        assert "its limit of 1Gi" in condition["message"]
        status = await world.status("a")
        assert status["modelStatus"]["copies"] == {"failedCopies": 1, "totalCopies": 0}
        assert status["components"]["predictor"]["latestRolledoutRevision"] == "a-predictor-00001"
        del world.fates["a-predictor-00001"]
        await world.ready("a")
    obj = await world.service("a")
    assert obj["kind"] == INFERENCE_SERVICES.kind
