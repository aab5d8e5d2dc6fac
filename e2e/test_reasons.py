"""Why it is not ready, in words that a person can act on."""

from __future__ import annotations

from e2e.cluster import ROOT, Cluster
from e2e.objects import custom, inference_service


def test_the_seeds_own_yaml_on_a_small_node(cluster: Cluster) -> None:
    cluster.apply(ROOT / "manifests" / "samples" / "seed.yaml")
    cluster.wait_reason("huggingface-llama3", "Unschedulable", "1 Insufficient cpu, 1 Insufficient memory")
    pod = cluster.get("pods", selector="serving.kserve.io/inferenceservice=huggingface-llama3")["items"][0]
    container = pod["spec"]["containers"][0]
    assert container["args"] == ["--model_name=llama3", "--model_id=meta-llama/meta-llama-3-8b-instruct"]
    wanted = {"cpu": "6", "memory": "24Gi", "nvidia.com/gpu": "1"}
    assert container["resources"] == {"limits": wanted, "requests": wanted}


def test_a_model_that_cannot_be_fetched(cluster: Cluster) -> None:
    small = {
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    }
    cluster.apply(
        inference_service(
            "nomodel", "--model_id=meta-llama/meta-llama-3-8b-instruct", "--backend=huggingface", model=small
        )
    )
    cluster.wait_reason("nomodel", "HubUnreachable", "meta-llama/meta-llama-3-8b-instruct")


def test_an_unknown_image(cluster: Cluster) -> None:
    cluster.apply(custom("noimage", image="registry.invalid/none:1"))
    cluster.wait_reason("noimage", "ImagePullFailed", "registry.invalid/none:1")


def test_a_crash_loop(cluster: Cluster) -> None:
    program = "import sys; print('cannot open the pod bay doors', flush=True); sys.exit(3)"
    cluster.apply(custom("crash", image="stoker.dev/runtime:0.1.0-cpu", command=["python", "-c", program]))
    ready = cluster.wait_reason("crash", "CrashLoopBackOff", "cannot open the pod bay doors")
    assert "exit code 3" in ready["message"]


def test_mistakes_are_refused_at_apply_all_at_once(cluster: Cluster) -> None:
    wrong = inference_service(
        "wrong",
        "--model_nam=smollm2",
        model={
            "modelFormat": {"name": "hugingface"},
            "resources": {"requests": {"cpu": "4"}, "limits": {"cpu": "2"}},
        },
    )
    said = ""
    try:
        cluster.apply(wrong)
    except AssertionError as refusal:
        said = str(refusal)
    for words in (
        "spec.predictor.model.modelFormat.name",
        "huggingface",
        "spec.predictor.model.resources.requests.cpu",
        "spec.predictor.model.args[0]",
        "--model_name",
    ):
        assert words in said, said


def test_events_tell_the_story(cluster: Cluster) -> None:
    cluster.apply(custom("noimage", image="registry.invalid/none:1"))
    cluster.wait_reason("noimage", "ImagePullFailed", "registry.invalid/none:1")
    cluster.wait_event("noimage", "ImagePullFailed")
