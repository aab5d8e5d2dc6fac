"""Kubernetes' own `$(VARIABLE)` in command lines and environments: the kubelet expands it at the start.

A label's value that is put into an argument must come out as that value, not as the Secret behind a variable
that it names. Source of the syntax: k8s.io/kubernetes third_party/forked/golang/expansion (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Commands of probes too, not those of lifecycle hooks (pkg/kubelet/prober/prober.go, lifecycle/handlers.go).
_EXPANDED = re.compile(
    r"spec\.(?:init)?[cC]ontainers\[\d+\]\.(?:"
    r"(?:(?:startup|readiness|liveness)Probe\.exec\.command|args|command)\[\d+\]"
    r"|env\[\d+\]\.value"
    r"|volumeMounts\[\d+\]\.subPathExpr)"
)


def is_expanded(path: str) -> bool:
    """Whether the kubelet expands the string at `path` of a pod template."""
    return _EXPANDED.fullmatch(path) is not None


def join_literally(text: str, value: str) -> str:
    """`text`, which the kubelet expands, with `value` after it, which comes out as it is."""
    if (len(text) - len(text.rstrip("$"))) % 2:
        text += "$"  # a `$` of the text's own: with what follows it could begin a reference
    return text + value.replace("$", "$$")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """What the kubelet makes of `text`. A reference to an unknown variable stays as it is."""
    made: list[str] = []
    place = 0
    while (dollar := text.find("$", place)) >= 0:
        made.append(text[place:dollar])
        following = text[dollar + 1 : dollar + 2]
        end = text.find(")", dollar) if following == "(" else -1
        if following == "$":
            made.append("$")
            place = dollar + 2
        elif end >= 0:
            reference = text[dollar : end + 1]
            made.append(variables.get(reference[2:-1], reference))
            place = end + 1
        else:
            made.append("$")
            place = dollar + 1
    return "".join(made) + text[place:]
