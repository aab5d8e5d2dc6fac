"""The API server that other rooms' tests stand on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stoker.local.control_plane import ApiServer, free_ports


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


@pytest.mark.apiserver
def test_serves_objects_to_the_administrator(api_server: ApiServer, kubectl_path: Path) -> None:
    command = [str(kubectl_path), f"--kubeconfig={api_server.kubeconfig}", "auth", "can-i", "*", "*", "-A"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip() == "yes", done.stderr


@pytest.mark.apiserver
def test_pods_can_be_stored_without_service_accounts(api_server: ApiServer, kubectl_path: Path) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stored", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "example.invalid/none:1"}]},
    }
    command = [str(kubectl_path), f"--kubeconfig={api_server.kubeconfig}", "create", "-f-", "-oname"]
    done = subprocess.run(
        command, input=json.dumps(pod), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.strip() == "pod/stored", done.stderr
