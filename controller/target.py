"""Which revision an InferenceService's spec asks for: one that is stored, or one to be made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import structlog

from controller.caches import View
from stoker.kube.resource import CONTROLLER_REVISIONS, DEPLOYMENTS, Object
from stoker.serving.admission.validate import validate_inference_service
from stoker.serving.api.objects import (
    EXTENSION_FIELDS,
    InferenceService,
    ServingRuntime,
    parse_runtime,
    read_inference_service,
)
from stoker.serving.problems import Invalid
from stoker.serving.rendering.render import inputs_of, render
from stoker.serving.rendering.selection import NoRuntime, select_runtime
from stoker.serving.rollouts.revisions import (
    Revision,
    RuntimeReference,
    choose_revision,
    make_revision,
    next_number,
    parse_revision,
)
from stoker.serving.settings import Settings
from stoker.serving.status.judge import SpecProblem

log = structlog.get_logger()

INVALID = "InvalidPredictorSpec"
# Of a predictor, what no revision stores.
_BESIDE = EXTENSION_FIELDS - {"labels", "annotations"}


@dataclass(frozen=True)
class Target:
    """`revision`: what is to run; with a `problem` the last one that could be made, if any ever could."""

    revision: Revision | None
    stored: dict[str, Revision] = field(default_factory=dict)  # all that are stored, by name
    problem: SpecProblem | None = None

    @property
    def is_new(self) -> bool:
        """Whether the revision has yet to be stored."""
        return self.revision is not None and self.revision.name not in self.stored


def find_target(view: View, isvc: InferenceService, invalid: Invalid | None, settings: Settings) -> Target:
    """The target. `invalid`: what is wrong with the InferenceService itself."""
    controlled = [each for each in view.children[CONTROLLER_REVISIONS].values() if view.controls(each)]
    stored = {each.name: each for obj in controlled if (each := parse_revision(obj)) is not None}
    if invalid is not None:
        return Target(_last(stored, view), stored, SpecProblem(INVALID, str(invalid)))
    found = choose_revision(stored.values(), lambda inputs: _inputs_now(isvc, inputs), _restated)
    if found is not None:
        return Target(found, stored)
    try:
        return Target(_render(view, isvc, stored, settings), stored)
    except NoRuntime as error:
        return Target(_last(stored, view), stored, SpecProblem(error.reason, error.message))
    except Invalid as error:
        return Target(_last(stored, view), stored, SpecProblem(INVALID, str(error)))


def _inputs_now(isvc: InferenceService, stored: Object) -> Object:
    return inputs_of(isvc, stored.get("labels") or (), stored.get("annotations") or ())


def _restated(stored: Object) -> Object:
    """Stored inputs, as this release would have stored them."""
    metadata = {name: stored.get(name) or {} for name in ("labels", "annotations")}
    spec = {"predictor": stored.get("predictor") or {}}
    isvc, _ = read_inference_service({"metadata": {"name": "stored", **metadata}, "spec": spec})
    return _inputs_now(isvc, stored)


def _render(view: View, isvc: InferenceService, stored: dict[str, Revision], settings: Settings) -> Revision:
    runtimes = _runtimes(view)
    runtime = select_runtime(isvc, runtimes).runtime
    _admit(view, stored, runtimes, settings)
    rendered = render(isvc, runtime, settings)
    in_use = [name for name, each in view.children[DEPLOYMENTS].items() if view.controls(each)]
    number = next_number(stored.values(), in_use)
    return make_revision(
        isvc.name,
        number,
        template=rendered.template,
        inputs=rendered.inputs,
        runtime=RuntimeReference.to(runtime) if runtime is not None else None,
    )


def _admit(
    view: View, stored: dict[str, Revision], runtimes: list[ServingRuntime], settings: Settings
) -> None:
    """The rules of admission once more: the webhook may have been away when the object was stored.

    As there, what the last revision was allowed is not held against the next one.
    """
    last = _last(stored, view)
    spec: Any = view.obj.get("spec") or {}
    old: Object | None = None
    if last is not None:
        kept = {name: spec["predictor"][name] for name in _BESIDE if name in spec["predictor"]}
        old = {**view.obj, "spec": {**spec, "predictor": {**(last.inputs.get("predictor") or {}), **kept}}}
    given = view.admission
    verdict = validate_inference_service(
        view.obj,
        old,
        runtimes,
        settings,
        args_schemas=given.args_schemas,
        namespace_labels=given.namespace_labels,
    )
    if verdict.problems:
        raise Invalid(*verdict.problems)


def _runtimes(view: View) -> list[ServingRuntime]:
    """Runtimes that can be read; a broken one must not stop those who do not use it."""
    read = []
    for obj in view.runtimes():
        try:
            read.append(parse_runtime(obj))
        except Invalid as error:
            log.warning("a runtime cannot be read", runtime=obj["metadata"]["name"], error=str(error))
    return read


def _last(stored: dict[str, Revision], view: View) -> Revision | None:
    """The revision that was the target last: the status says so, else the newest."""
    status: Any = view.obj.get("status") or {}
    named = ((status.get("components") or {}).get("predictor") or {}).get("latestCreatedRevision")
    if named in stored:
        return stored[named]
    return max(stored.values(), key=lambda each: each.number, default=None)
