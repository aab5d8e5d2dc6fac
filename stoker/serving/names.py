"""The words of the API: groups, labels, annotations, and the names and hosts made from them."""

from __future__ import annotations

from stoker.serving.settings import Settings

GROUP = "serving.kserve.io"
INFERENCE_SERVICE_VERSION = f"{GROUP}/v1beta1"
RUNTIME_VERSION = f"{GROUP}/v1alpha1"
INFERENCE_SERVICE_KIND = "InferenceService"
RUNTIME_KIND = "ServingRuntime"
CLUSTER_RUNTIME_KIND = "ClusterServingRuntime"

# KServe's labels: pods carry them, and tools written for KServe select by them.
INFERENCE_SERVICE_LABEL = f"{GROUP}/inferenceservice"
SERVER_TYPE_ANNOTATION = f"{GROUP}/server-type"
COMPONENT_LABEL = "component"
COMPONENT = "predictor"
# Ours.
DOMAIN = "stoker.dev"
REVISION_LABEL = f"{DOMAIN}/revision"
IMAGE_VARIANTS_ANNOTATION = f"{DOMAIN}/image-variants"
REPEATABLE_FLAGS_ANNOTATION = f"{DOMAIN}/repeatable-flags"
ARGS_SCHEMA_ANNOTATION = f"{DOMAIN}/args-schema"
PROGRESS_DEADLINE_ANNOTATION = f"{DOMAIN}/progress-deadline"  # seconds
STOP_ANNOTATION = f"{GROUP}/stop"  # "true": no pods until it goes
SECURITY_LABEL = f"{DOMAIN}/security"  # of a namespace: restricted or trusted
# Kubernetes' recommended labels.
APP_NAME_LABEL = "app.kubernetes.io/name"
APP_INSTANCE_LABEL = "app.kubernetes.io/instance"
APP_COMPONENT_LABEL = "app.kubernetes.io/component"
APP_PART_OF_LABEL = "app.kubernetes.io/part-of"
APP_MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "stoker-controller"

MODEL_CONTAINER = "kserve-container"
TRANSFORMER_CONTAINER = "transformer-container"  # KServe's, beside the model's
MODEL_NAME_FLAG = "model_name"
NAME_VARIABLE = "INFERENCE_SERVICE_NAME"

# `{name}-predictor-00001` is the value of a label, so at most 63 characters: 47 are left for the name.
MAX_NAME_LENGTH = 47
MAX_LABEL_LENGTH = 63
MAX_HOST_LENGTH = 253


def labels(name: str, revision: str | None = None) -> dict[str, str]:
    """Labels of every object made for the InferenceService `name`; of one revision's where it is given."""
    made = {
        INFERENCE_SERVICE_LABEL: name,
        COMPONENT_LABEL: COMPONENT,
        APP_NAME_LABEL: "inferenceservice",
        APP_INSTANCE_LABEL: name,
        APP_COMPONENT_LABEL: COMPONENT,
        APP_PART_OF_LABEL: "stoker",
        APP_MANAGED_BY_LABEL: MANAGER,
    }
    return made if revision is None else made | {REVISION_LABEL: revision}


def selector(name: str, revision: str | None = None) -> dict[str, str]:
    """Labels that select the pods of the InferenceService `name`, or of one revision: immutable once used."""
    chosen = {INFERENCE_SERVICE_LABEL: name, COMPONENT_LABEL: COMPONENT}
    return chosen if revision is None else chosen | {REVISION_LABEL: revision}


def service_name(name: str) -> str:
    """Name of the Service in front of the predictor's pods."""
    return f"{name}-{COMPONENT}"


def host(name: str, namespace: str, settings: Settings) -> str:
    """Host under which the gateway serves the InferenceService, in lower case."""
    filled = settings.url_template.format(name=name, namespace=namespace, domain=settings.domain)
    return filled.lower()


def url(name: str, namespace: str, settings: Settings) -> str:
    """`status.url`."""
    return f"{settings.url_scheme}://{host(name, namespace, settings)}"


def address(name: str, namespace: str, settings: Settings) -> str:
    """`status.address.url`: the Service's full name inside the cluster."""
    return f"http://{service_name(name)}.{namespace}.svc.{settings.cluster_domain}"
