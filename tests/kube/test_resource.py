"""Where objects live in the API."""

from __future__ import annotations

import pytest

from stoker.kube.resource import DEPLOYMENTS, EVENTS, NODES, PODS, Key, key_of


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("team", "web"), "/api/v1/namespaces/team/pods/web"),
        (DEPLOYMENTS.path("team"), "/apis/apps/v1/namespaces/team/deployments"),
        (
            DEPLOYMENTS.path("team", "web", "status"),
            "/apis/apps/v1/namespaces/team/deployments/web/status",
        ),
        (NODES.path("ignored", "n1"), "/api/v1/nodes/n1"),
        (EVENTS.path("a"), "/apis/events.k8s.io/v1/namespaces/a/events"),
        (PODS.path("team", "../../secrets/x"), "/api/v1/namespaces/team/pods/..%2F..%2Fsecrets%2Fx"),
    ],
)
def test_paths(path: str, wanted: str) -> None:
    assert path == wanted


def test_a_path_never_grows_from_one_object_to_all() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        PODS.path("team", "")
    with pytest.raises(ValueError, match="needs a namespace"):
        PODS.path("", "web")


def test_keys() -> None:
    assert key_of({"metadata": {"name": "n1"}}) == Key("", "n1")
    assert str(key_of({"metadata": {"name": "web", "namespace": "team"}})) == "team/web"
    assert DEPLOYMENTS.api_version == "apps/v1"
    assert PODS.api_version == "v1"
