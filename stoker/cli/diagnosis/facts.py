"""What was seen of a cluster. Objects are the API server's, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stoker.kube.resource import Object


@dataclass(frozen=True)
class Denied:
    """What the person's account may not read (403), in the API server's words."""

    words: str


@dataclass(frozen=True)
class Answer:
    """What a request came to. `status` 0: no answer, `words` has the error.

    `code`: of an OpenAI error, "" where it is none. `asked`: the request, "GET http://HOST/PATH".
    """

    status: int
    words: str = ""
    seconds: float = 0.0
    code: str = ""
    asked: str = ""


@dataclass(frozen=True)
class Installation:
    """Stoker itself. `lease_moves`: the Lease was renewed while it was looked at, or just before."""

    namespace: str
    crds: Sequence[Object] | Denied = ()
    deployments: Sequence[Object] | Denied = ()
    pods: Sequence[Object] | Denied = ()
    lease: Object | Denied | None = None
    lease_moves: bool = False
    registration: Object | Denied | None = None
    webhook: Answer | Denied | None = None  # None: it was not asked


@dataclass(frozen=True)
class Served:
    """One InferenceService and what is made of it. `states` and `events`: by pod uid, of pods not ready."""

    isvc: Object
    pods: Sequence[Object] | Denied = ()
    deployments: Sequence[Object] | Denied = ()
    slices: Sequence[Object] | Denied = ()
    states: Mapping[str, Object] = field(default_factory=dict)
    events: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    answer: Answer | Denied | None = None  # None: it was not asked, since no pod is ready
    stoker: str = "stoker-system"  # Stoker's own namespace
    gateway: str = ""  # where requests were sent, http://HOST:PORT; "": through the API server


@dataclass(frozen=True)
class Unseen:
    """An InferenceService that was found and could not be looked at: `words` says why."""

    isvc: Object
    words: str
