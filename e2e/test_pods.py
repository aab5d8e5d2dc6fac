"""What a process in a predictor's pod finds: its arguments and variables to the letter, memory, no token."""

from __future__ import annotations

import json
from typing import Any

from e2e.cluster import Cluster

# Answers readiness, and says what it was started with.
TELLS = """
import http.server, json, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        shm = os.statvfs("/dev/shm")
        told = {"args": sys.argv[1:], "env": dict(os.environ), "uid": os.getuid(),
                "shm": shm.f_blocks * shm.f_frsize, "prepared": open("/shared/prepared").read(),
                "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token")}
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(told).encode())
http.server.ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""
IMAGE = "stoker.dev/runtime:0.1.0-cpu"
NOTE = '{{.Annotations["example.com/note"]}}'
HOSTILE = '"}],"image":"evil {{.Name}} $(SECRET) $$(SECRET) $'


def runtime() -> dict[str, Any]:
    """One that is not Stoker's: it says nothing of its image, and starts as root."""
    container = {
        "name": "kserve-container",
        "image": IMAGE,
        "command": ["python", "-c", TELLS],
        "args": [f"--note={NOTE}", "--level=1", "--secret=$(SECRET)"],
        "env": [{"name": "SECRET", "value": "s3cret"}, {"name": "NOTE", "value": f"<{NOTE}>"}],
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "{{.Name}}-shared", "mountPath": "/shared"}],
    }
    prepares = {
        "name": "prepare",
        "image": IMAGE,
        "command": ["python", "-c", "import sys; open('/shared/prepared', 'w').write(sys.argv[1])"],
        "args": [NOTE],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "{{.Name}}-shared", "mountPath": "/shared"}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "tells", "namespace": "default"},
        "spec": {
            "supportedModelFormats": [{"name": "tells", "autoSelect": True}],
            "containers": [container],
            "initContainers": [prepares],
            "volumes": [{"name": "{{.Name}}-shared", "emptyDir": {}}],
        },
    }


def test_a_pod_gets_what_was_written_and_what_was_not(cluster: Cluster) -> None:
    cluster.apply(runtime())
    cluster.apply(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": "told",
                "namespace": "default",
                "annotations": {"example.com/note": HOSTILE},
            },
            "spec": {"predictor": {"model": {"modelFormat": {"name": "tells"}, "args": ["--level", "2"]}}},
        }
    )
    isvc = cluster.wait_ready("told")
    host = isvc["status"]["url"].removeprefix("http://")
    told = json.loads(cluster.run("curl", "-sf", "-H", f"Host: {host}", f"{cluster.ingress}/"))
    assert told["args"] == [f"--note={HOSTILE}", "--secret=s3cret", "--level", "2"]
    assert told["env"]["NOTE"] == f"<{HOSTILE}>"
    assert told["prepared"] == HOSTILE
    assert told["env"]["INFERENCE_SERVICE_NAME"] == "told"
    assert "TOLD_PREDICTOR_SERVICE_HOST" not in told["env"]  # enableServiceLinks: false
    assert told["uid"] == 0  # an image that starts as root may, where nothing says otherwise
    assert told["shm"] == 128 << 20  # half of the memory limit
    assert told["token"] is False
