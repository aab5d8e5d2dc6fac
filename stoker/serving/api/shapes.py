"""The parts of Kubernetes' Pod that Stoker reads or merges: which fields there are, and their JSON types.

Only what merging relies on is checked here, so that a pod written by hand cannot crash it; the API server
judges the rest when the Deployment is applied.
"""

from __future__ import annotations

from stoker.serving.api.reading import Object, Reader
from stoker.serving.problems import FieldProblem, child, invalid, required

# PodSpec of Kubernetes 1.37 without `containers`.
_POD_WORDS = """
    activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks
    ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride
    imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority
    priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName
    schedulingGates securityContext serviceAccount serviceAccountName setHostnameAsFQDN
    shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints
    volumes
"""
_CONTAINER_WORDS = """
    args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe
    resizePolicy resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce
    terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir
"""
POD_FIELDS = frozenset(_POD_WORDS.split())
CONTAINER_FIELDS = frozenset(_CONTAINER_WORDS.split())
# Lists of objects, and the field that tells their entries apart when two are merged.
CONTAINER_KEYS = {
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "resizePolicy": "resourceName",
}
POD_KEYS = {
    "volumes": "name",
    "initContainers": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "readinessGates": "conditionType",
    "schedulingGates": "name",
}
_CONTAINER_OBJECTS = ("livenessProbe", "readinessProbe", "startupProbe", "securityContext")
_POD_OBJECTS = ("affinity", "dnsConfig", "securityContext")


def check_container(container: Object, path: str, problems: list[FieldProblem]) -> None:
    """Note what has another JSON type than merging needs; unknown fields are not judged here."""
    reader = Reader(container, path, problems)
    for name in ("name", "image", "terminationMessagePath", "terminationMessagePolicy", "workingDir"):
        reader.text(name)
    reader.strings("args")
    reader.strings("command")
    _check_keyed(reader, CONTAINER_KEYS)
    # With the number it tells ports apart.
    for number, port in enumerate(container["ports"] if isinstance(container.get("ports"), list) else []):
        if isinstance(port, dict):
            Reader(port, child(path, "ports", number), problems).text("protocol")
    reader.objects("envFrom")
    for name in _CONTAINER_OBJECTS:
        reader.object(name)
    lifecycle = reader.inner("lifecycle")
    for hook in ("postStart", "preStop"):
        lifecycle.inner(hook).object("sleep")
    for name in ("livenessProbe", "startupProbe"):
        if isinstance(container.get(name), dict):
            # How often the start may fail is computed from this.
            reader.inner(name).integer("periodSeconds", low=0, high=2**31 - 1)
    resources = reader.inner("resources")
    for name in ("limits", "requests"):
        resources.object(name)


def pod_fields(spec: Reader) -> Object:
    """The PodSpec fields of an object that has others beside them, without `containers`."""
    return {name: value for name, value in spec.value.items() if name in POD_FIELDS and value is not None}


def check_pod(pod_spec: Object, path: str, problems: list[FieldProblem]) -> None:
    """The same for the PodSpec fields beside `containers`."""
    reader = Reader(pod_spec, path, problems)
    _check_keyed(reader, POD_KEYS)
    reader.objects("tolerations")
    reader.words("nodeSelector")
    # The sleep before a pod's end is computed from this.
    reader.integer("terminationGracePeriodSeconds", low=0, high=2**63 - 1)
    for name in _POD_OBJECTS:
        reader.object(name)
    for number, container in enumerate(reader.objects("initContainers")):
        check_container(container, child(path, "initContainers", number), problems)


def _check_keyed(reader: Reader, keys: dict[str, str]) -> None:
    for name, key in keys.items():
        for number, item in enumerate(reader.objects(name)):
            value, path = item.get(key), child(reader.at(name), number, key)
            if value is None:
                reader.problems.append(required(path, f"entries of {name} have one"))
            elif not isinstance(value, str | int):
                reader.problems.append(invalid(path, value, "must be a string or a number"))
