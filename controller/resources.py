"""The kinds that only Stoker has."""

from __future__ import annotations

from stoker.kube.resource import Resource
from stoker.serving import names

INFERENCE_SERVICES = Resource(names.GROUP, "v1beta1", "inferenceservices", names.INFERENCE_SERVICE_KIND)
SERVING_RUNTIMES = Resource(names.GROUP, "v1alpha1", "servingruntimes", names.RUNTIME_KIND)
CLUSTER_SERVING_RUNTIMES = Resource(
    names.GROUP, "v1alpha1", "clusterservingruntimes", names.CLUSTER_RUNTIME_KIND, namespaced=False
)
