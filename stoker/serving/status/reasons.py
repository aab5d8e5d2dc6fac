"""The reasons of the condition Ready, as docs/status.md lists them.

A runtime of somebody else's may end with any word: what counts by reason counts these alone.
"""

from __future__ import annotations

OTHER = "Other"
REASONS = frozenset(
    {
        "Creating", "Scheduling", "Initializing", "Starting", "Fetching", "Importing", "Loading",
        "Compiling", "Warming", "Draining", "RollingOut", "Recreating", "PodsNotReady", "Ready",
        "PodsReady", "RolledOut", "Canary", "GatewayReady", "NotObserved", "Stopped", "NoSupportingRuntime",
        "RuntimeNotRecognized", "RuntimeDisabled", "InvalidPredictorSpec", "ReconcileFailed",
        "Unschedulable", "FailedCreate", "ImagePullFailed", "InvalidImageName",
        "CreateContainerConfigError", "CreateContainerError", "PostStartHookError", "FailedMount",
        "FailedCreatePodSandBox", "StartError", "OOMKilled", "StartupProbeFailed", "LivenessProbeFailed",
        "CrashLoopBackOff", "Evicted", "PodFailed", "ProgressDeadlineExceeded", "GatewayNotReady",
        "InvalidArgument", "ModelNotFound", "ModelGated", "TokenMissing", "HubUnreachable",
        "StorageUnreachable", "CredentialsMissing", "AccessDenied", "FileMissing", "PickleRefused",
        "StorageNotWritable", "ChecksumMismatch", "DiskFull", "ModelInvalid", "ModelUnsupported",
        "BackendUnavailable", "OutOfMemory", "PortInUse", "EngineFailed", "EngineDied", "ModelLoadFailed",
    }
)  # fmt: skip
# Of a spec that cannot become a revision.
SPEC_REASONS = ("InvalidPredictorSpec", "NoSupportingRuntime", "RuntimeDisabled", "RuntimeNotRecognized")


def known(reason: str) -> str:
    """The reason; `Other` where it is none of ours."""
    return reason if reason in REASONS else OTHER
