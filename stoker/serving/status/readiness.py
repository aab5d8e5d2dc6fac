"""Whether an InferenceService is ready, and if not, why, in words.

- `LatestDeploymentReady`: the revision of the spec *as it is now* is rolled out: its pods are ready in the
  number wanted and no other revision is left, or both revisions of a canary are as wanted.
- `PredictorReady`: requests are served, by whatever revision: enough pods are ready.
- `IngressReady`: the gateway can route the host.
- `Stopped`: there only while the annotation asks for no pods; the others are False then.
- `Ready`: all three. An update that is under way makes it Unknown, one that failed makes it False and says
  so, together with which revision still serves; PredictorReady stays True all the while.

Unknown means under way; False means that it does not serve, or will not without something being done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from stoker.serving.api.reading import Object
from stoker.serving.names import STOP_ANNOTATION
from stoker.serving.rollouts.revisions import Revision
from stoker.serving.rollouts.rollout import Observed, Plan, Strategy
from stoker.serving.status.pods import Report, ended_before, worst
from stoker.serving.status.trouble import Trouble

PROGRESS_DEADLINE = "ProgressDeadlineExceeded"
STOPPED = "Stopped"

# What a pod does on its way to ready, in this order.
_ORDER = [
    "Scheduling",
    "Creating",
    "Initializing",
    "Starting",
    "Fetching",
    "Importing",
    "Loading",
    "Compiling",
    "Warming",
    "Ready",
    "Draining",
]


@dataclass(frozen=True)
class SpecProblem:
    """Why the spec cannot become a revision, or a revision's objects. `reason`: KServe's FailureReason."""

    reason: str
    message: str


@dataclass(frozen=True)
class Situation:
    """Everything that a status says something about."""

    name: str
    generation: int
    url: str
    address: str
    replicas: int = 1
    strategy: Strategy = field(default_factory=Strategy)
    target: Revision | None = None  # None only where there is a problem and never was a revision
    model: str = ""
    plan: Plan | None = None
    observed: Mapping[str, Observed] = field(default_factory=dict)
    reports: Mapping[str, Sequence[Report]] = field(default_factory=dict)  # of pods, by revision
    # What a Deployment says of itself: pods that cannot be created, a deadline that passed. By revision.
    deployments: Mapping[str, Trouble] = field(default_factory=dict)
    problem: SpecProblem | None = None
    gateway_ready: bool | None = None  # None: not looked at
    cold_start: Object | None = None  # of the target, where it is known now
    backend: Object | None = None  # of the target's ready pods, where it is known now
    stopped: bool = False  # asked to have no pods
    before: Object = field(default_factory=dict)  # the status as it is


class Verdict(NamedTuple):
    """A condition's three words."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


class Readiness:
    """What follows from a situation."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.name = situation.target.name if situation.target else ""
        self.before: Any = (situation.before.get("components") or {}).get("predictor") or {}
        self.target = situation.observed.get(self.name) or Observed(self.name)
        self.plan = situation.plan
        kept = [] if situation.stopped else list(self.before.get("traffic") or [])
        self.traffic: list[Any] = self.plan.traffic if self.plan else kept
        self.goal = self.plan.goals.get(self.name, situation.replicas) if self.plan else situation.replicas
        goals = 0 if situation.stopped else situation.replicas
        self.wanted = sum(self.plan.goals.values()) if self.plan else goals
        self.others = sorted(
            name for name, each in situation.observed.items() if name != self.name and each.asked
        )
        self.ready_pods = sum(each.ready for each in situation.observed.values())
        self.trouble = self._trouble()

    def latest(self) -> Verdict:
        """Whether the revision of this generation is rolled out."""
        problem, plan = self.situation.problem, self.plan
        if self.situation.stopped:
            return self.stopped()
        if problem is not None:
            return Verdict("False", problem.reason, _and(problem.message, self._meanwhile()))
        if plan is None or not self.name:
            return Verdict("Unknown", "Creating", "the first revision is being made")
        enough = self.target.ready >= max(1, self.goal - self.situation.strategy.max_unavailable)
        if enough and not self.others:
            return Verdict("True", "RolledOut", f"{self.name}: {self._counted(self.target.ready, self.goal)}")
        if enough and plan.phase == "Canary":
            return Verdict("True", "Canary", f"{self.name} is a canary: {_shown(plan.traffic)}")
        return self._under_way(plan, enough)

    def _under_way(self, plan: Plan, enough: bool) -> Verdict:
        if self.trouble is not None and not enough:
            message = _and(_and(self._told(self.trouble), self._next()), self._meanwhile())
            return Verdict("False", self.trouble.reason, message)
        reason, message = self._progress()
        if plan.phase == "Recreating" and self.others:
            reason, message = (
                "Recreating",
                f"{self.name} starts when the last pod of {self.others[0]} is gone",
            )
        elif plan.phase == "HandingOver" and self.others:
            message = _and(message, f"it takes over from {self.others[0]}, which holds what it needs")
        elif enough:
            reason, message = "RollingOut", f"{self.name} replaces {', '.join(self.others)}"
        return Verdict("Unknown", reason, _and(message, self._meanwhile()))

    def predictor(self) -> Verdict:
        """Whether requests are served, by any revision."""
        situation = self.situation
        if situation.stopped:
            return self.stopped()
        if self.ready_pods >= max(1, situation.replicas - situation.strategy.max_unavailable):
            return Verdict("True", "PodsReady", self._counted(self.ready_pods, self.wanted))
        counted = f"{self._counted(self.ready_pods, self.wanted)}; " if self.ready_pods else ""
        if self.trouble is not None:
            return Verdict("False", self.trouble.reason, counted + self._told(self.trouble))
        if situation.problem is not None and not self.others and not self.target.asked:
            return Verdict("False", situation.problem.reason, situation.problem.message)
        reason, message = self._progress()
        if self.before.get("latestRolledoutRevision"):
            return Verdict("False", "PodsNotReady", counted + message)
        return Verdict("Unknown", reason, counted + message)

    def stopped(self) -> Verdict:
        """Why there are no pods, and how they come back."""
        left = sum(len(reports) for reports in self.situation.reports.values())
        ending = f"; {left} pod{'s' if left > 1 else ''} still ending" if left else ""
        return Verdict(
            "False", STOPPED, f"stopped by annotation {STOP_ANNOTATION}: remove it to start{ending}"
        )

    def ingress(self) -> Verdict:
        """Whether the gateway can route the host."""
        host = self.situation.url.partition("://")[2]
        if self.situation.gateway_ready is None:
            return Verdict("True", "NotObserved", f"{host} is the gateway's, which is not watched here")
        if self.situation.gateway_ready:
            return Verdict("True", "GatewayReady", f"the gateway routes {host} to the pods that are ready")
        return Verdict("False", "GatewayNotReady", f"no pod of the gateway is ready to answer for {host}")

    def ready(self) -> Verdict:
        """The first of the three that is False, else the first that is Unknown."""
        verdicts = (self.latest(), self.predictor(), self.ingress())
        for status in ("False", "Unknown"):
            for verdict in verdicts:
                if verdict.status == status:
                    return verdict
        return Verdict("True", "Ready", verdicts[0].message)

    def _trouble(self) -> Trouble | None:
        """The target's trouble: what its pods say, else what its Deployment says. None once it is gone."""
        wanted = max(1, self.goal - self.situation.strategy.max_unavailable)
        if self.target.ready >= wanted or self.situation.stopped:
            return None
        found = worst(self.situation.reports.get(self.name, ()))
        if found is not None:
            return found
        late = self.situation.deployments.get(self.name)
        if late is None or late.reason != PROGRESS_DEADLINE:
            return late
        return replace(late, message=f"{late.message}; {self._progress()[1].removeprefix(f'{self.name}: ')}")

    @property
    def deadline_passed(self) -> bool:
        """Whether the revision that is to serve had all the time that it may take, whatever holds it up."""
        late = self.situation.deployments.get(self.name)
        return late is not None and late.reason == PROGRESS_DEADLINE

    def _progress(self) -> tuple[str, str]:
        """What the pod that is furthest does; reason and message."""
        reports = self.situation.reports.get(self.name, ())
        doing = [each.progress for each in reports if each.progress is not None]
        if not doing:
            return "Creating", f"{self.name}: its pods are being created"
        reason, message = min(
            doing, key=lambda each: (-_ORDER.index(each[0]) if each[0] in _ORDER else 0, each[1])
        )
        return reason, _and(f"{self.name}: {message}", ended_before(reports))

    def _told(self, trouble: Trouble) -> str:
        return f"{self.name}: {trouble.message}"

    def _next(self) -> str:
        """What happens by itself, or what would help, where the old revision holds what the new one needs."""
        plan, trouble = self.plan, self.trouble
        if plan is None or trouble is None or trouble.reason != "Unschedulable" or not self.others:
            return ""
        if plan.handing_over:
            return f"{self.name} takes over from {self.others[0]} now"
        if plan.hand_over is None:
            return ""
        due = datetime.fromtimestamp(plan.hand_over.due, UTC).strftime("%H:%M:%SZ")
        held = ", ".join(plan.hand_over.resources)
        return f"{plan.hand_over.holder} holds {held} and hands over at {due}"

    def _meanwhile(self) -> str:
        """Who serves while this revision does not."""
        named = [entry["revisionName"] for entry in self.traffic if entry["percent"]]
        serving = [name for name in named if name != self.name and self._serves(name)]
        if serving:
            return f"{' and '.join(serving)} still {'serves' if len(serving) == 1 else 'serve'}"
        return f"{self.name} still serves" if self.situation.problem and self._serves(self.name) else ""

    def _serves(self, name: str) -> bool:
        each = self.situation.observed.get(name)
        return each is not None and each.ready > 0

    @staticmethod
    def _counted(ready: int, wanted: int) -> str:
        of = f" of {wanted}" if ready <= wanted else ""
        return f"{ready}{of} pod{'s' if max(ready, wanted) != 1 else ''} ready"


def _and(message: str, more: str) -> str:
    """Two statements in one message; the first may be a sentence of somebody else's."""
    return f"{message}{' ' if message.endswith('.') else '; '}{more}" if more else message


def _shown(traffic: Sequence[Object]) -> str:
    return ", ".join(f"{entry['percent']}% to {entry['revisionName']}" for entry in traffic)
