"""The API's objects and their readers, to be imported from one place."""

from stoker.serving.api.fields import EXTENSION_FIELDS, LEGACY_FORMATS, MODEL_FIELDS, PREDICTOR_FIELDS
from stoker.serving.api.inference_service import (
    InferenceService,
    Model,
    ModelFormat,
    Predictor,
    parse_inference_service,
    read_inference_service,
)
from stoker.serving.api.runtimes import (
    PROTOCOLS,
    ServingRuntime,
    SupportedFormat,
    parse_runtime,
    read_runtime,
)

__all__ = [
    "EXTENSION_FIELDS",
    "LEGACY_FORMATS",
    "MODEL_FIELDS",
    "PREDICTOR_FIELDS",
    "PROTOCOLS",
    "InferenceService",
    "Model",
    "ModelFormat",
    "Predictor",
    "ServingRuntime",
    "SupportedFormat",
    "parse_inference_service",
    "parse_runtime",
    "read_inference_service",
    "read_runtime",
]
