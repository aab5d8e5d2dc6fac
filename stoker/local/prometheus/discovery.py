"""Tells Prometheus which pods there are: Debian's build leaves Kubernetes' service discovery out.

    python -m stoker.local.prometheus.discovery FILE

Runs beside Prometheus in its pod, asks the API server for Stoker's pods every two seconds, and writes FILE
in the form of `file_sd_configs`, with the labels that `kubernetes_sd_configs` of role pod would give. So
relabelling is the same as with any other Prometheus. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PODS = "/api/v1/pods?labelSelector=app.kubernetes.io%2Fpart-of%3Dstoker&resourceVersion=0"
_EVERY = 2.0  # seconds
_PREFIX = "__meta_kubernetes_"

Object = dict[str, Any]


def targets(pods: list[Object]) -> list[Object]:
    """Target groups for a PodList's items: one for each container's port, one for a container without any.

    Names and values are Prometheus' own, `discovery/kubernetes/pod.go`.
    """
    return [group for pod in pods if pod.get("status", {}).get("podIP") for group in _groups(pod)]


def _groups(pod: Object) -> Iterator[Object]:
    spec, address, of_pod = pod["spec"], pod["status"]["podIP"], _of_pod(pod)
    for init, name in ((False, "containers"), (True, "initContainers")):
        for container in spec.get(name) or []:
            labels = of_pod | _meta(
                pod_container_name=container["name"],
                pod_container_image=container.get("image", ""),
                pod_container_init=str(init).lower(),
            )
            for port in container.get("ports") or [{}]:
                number = port.get("containerPort")
                more = (
                    _meta(
                        pod_container_port_name=port.get("name", ""),
                        pod_container_port_number=str(number),
                        pod_container_port_protocol=port.get("protocol", "TCP"),
                    )
                    if number
                    else {}
                )
                where = f"{address}:{number}" if number else address
                yield {"targets": [where], "labels": labels | more}


def _of_pod(pod: Object) -> dict[str, str]:
    metadata, status = pod["metadata"], pod["status"]
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    labels = _meta(
        namespace=metadata["namespace"],
        pod_name=metadata["name"],
        pod_uid=metadata["uid"],
        pod_ip=status["podIP"],
        pod_host_ip=status.get("hostIP", ""),
        pod_node_name=pod["spec"].get("nodeName", ""),
        pod_phase=status.get("phase", ""),
        pod_ready=conditions.get("Ready", "unknown").lower(),
    )
    for kind in ("label", "annotation"):
        given: Mapping[str, str] = metadata.get(f"{kind}s") or {}
        for key, value in given.items():
            safe = re.sub(r"[^a-zA-Z0-9_]", "_", key)
            labels |= _meta(**{f"pod_{kind}_{safe}": value, f"pod_{kind}present_{safe}": "true"})
    return labels


def _meta(**labels: str) -> dict[str, str]:
    return {f"{_PREFIX}{name}": value for name, value in labels.items()}


def _list() -> list[Object]:
    """Stoker's pods. Raises OSError, http.client.HTTPException or ValueError."""
    context = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    connection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
    try:
        # The kubelet renews the token, so it is read again each time.
        token = (_ACCOUNT / "token").read_text()
        connection.request("GET", _PODS, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise OSError(f"the API server says {answer.status}: {body[:200]!r}")
        items: list[Object] = json.loads(body)["items"]
        return items
    finally:
        connection.close()


def main(file: str) -> None:
    """Write the file whenever the pods have changed, for ever."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # process 1 has no default
    written = ""
    while True:
        try:
            text = json.dumps(targets(_list()), indent=1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The targets stay as they are until the API server answers again.
            sys.stderr.write(f"no list of pods: {error}\n")
        else:
            if text != written:
                new = Path(f"{file}.new")
                new.write_text(text)
                new.replace(file)
                written = text
        time.sleep(_EVERY)


if __name__ == "__main__":
    main(sys.argv[1])
