"""Labels and annotations of an InferenceService that KServe reads, and what Stoker does with them.

Rows are as in `fields`; a name that ends in `*` stands for every key that begins so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stoker.serving.api.fields import SCALING, Field
from stoker.serving.problems import child

_STAYS = "stays on the InferenceService; for its pods, write it under spec.predictor.annotations"
_CLUSTER_LOCAL = "the gateway serves every InferenceService to all who reach it, so this cannot be kept"

# Both as label and as annotation: KServe reads some in either place.
METADATA = (
    Field(
        "serving.kserve.io/deploymentMode",
        "warned",
        "Stoker runs a Deployment, as KServe's Standard mode does: nothing scales to zero",
        only="anything but Standard and RawDeployment",
        concerns=lambda value, _: value not in ("Standard", "RawDeployment"),
    ),
    Field(
        "serving.kserve.io/autoscalerClass",
        "warned",
        SCALING,
        only="anything but none and external",
        concerns=lambda value, _: value not in ("none", "external"),
    ),
    Field("serving.kserve.io/metric", "warned", SCALING),
    Field("serving.kserve.io/targetUtilizationPercentage", "warned", SCALING),
    Field("autoscaling.knative.dev/*", "warned", SCALING),
    Field(
        "serving.kserve.io/disable-auto-update",
        note="always so: only a change of the predictor rolls its pods",
    ),
    Field(
        "serving.kserve.io/enable-prometheus-scraping", "warned", "has no effect: every pod serves /metrics"
    ),
    Field(
        "serving.kserve.io/enable-metric-aggregation", "warned", "has no effect: every pod serves /metrics"
    ),
    Field("serving.kserve.io/enable-tag-routing", "warned", "has no effect: there are no hosts per revision"),
    Field(
        "serving.kserve.io/gke-accelerator",
        "warned",
        "has no effect: write cloud.google.com/gke-accelerator under spec.predictor.nodeSelector",
    ),
    Field("serving.kserve.io/stop", note="true: no pods until it is removed; condition Stopped"),
    Field("serving.kserve.io/storageSecretName", note="the Secret with the credentials for storageUri"),
    *(
        Field(f"serving.kserve.io/s3-{name}", note="of s3://: see docs/storage.md")
        for name in ("endpoint", "region", "useanoncredential", "usehttps", "usevirtualbucket", "verifyssl")
    ),
    Field("storage.kserve.io/readonly", note="false: the claim of pvc:// is mounted to be written"),
    Field("serving.kserve.io/nodegroup", "warned", "has no effect: Stoker keeps no models on nodes"),
    *(
        Field(
            name,
            "refused",
            _CLUSTER_LOCAL,
            only="cluster-local",
            concerns=lambda value, _: value == "cluster-local",
        )
        for name in ("networking.kserve.io/visibility", "networking.knative.dev/visibility")
    ),
    # KServe copies every label and annotation to the pods, and so rolls them for each; these matter there.
    *(
        Field(name, "warned", _STAYS)
        for name in (
            "cluster-autoscaler.kubernetes.io/*",
            "k8s.v1.cni.cncf.io/*",
            "karpenter.sh/*",
            "linkerd.io/*",
            "prometheus.io/*",
            "proxy.istio.io/*",
            "sidecar.istio.io/*",
            "traffic.sidecar.istio.io/*",
            "vault.hashicorp.com/*",
        )
    ),
)


def judged(labels: Mapping[str, str], annotations: Mapping[str, str]) -> Iterator[tuple[str, Field]]:
    """Path and row of every label and annotation that is refused or warned about."""
    for where, values in (("metadata.labels", labels), ("metadata.annotations", annotations)):
        for key, value in sorted(values.items()):
            row = _ROWS.get(key) or next((each for begin, each in _BEGIN if key.startswith(begin)), None)
            if row is not None and row.fate != "supported" and row.concerns(value, values):
                yield child(where, key), row


_ROWS = {row.name: row for row in METADATA}
_BEGIN = [(row.name[:-1], row) for row in METADATA if row.name.endswith("*")]
