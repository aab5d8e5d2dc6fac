"""Made-up objects: a valid one, some fields drawn from the CRD's schema, and now and then a mistake."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.webhook.fuzz import schemas
from tests.webhook.fuzz.aimed import AIMED, AIMED_RUNTIME, MODELS, PREDICTORS, SPECS
from tests.webhook.objects import cluster_runtime, inference_service, namespaced_runtime

Object = dict[str, Any]

NAMES = st.sampled_from(["smollm2", "a", "fuzz-1", "x" * 47])


def services() -> list[Object]:
    """Valid InferenceServices of different kinds; what is drawn goes into one of these."""
    plain = inference_service("smollm2")
    legacy, own, named, canary = (inference_service(name) for name in ("legacy", "own", "named", "canary"))
    model = legacy["spec"]["predictor"].pop("model")
    model.pop("modelFormat")
    legacy["spec"]["predictor"]["huggingface"] = model
    own["spec"]["predictor"] = {
        "containers": [{"name": "kserve-container", "image": "x.y/z:1", "ports": [{"containerPort": 9000}]}]
    }
    named["spec"]["predictor"]["model"]["runtime"] = "kserve-huggingfaceserver"
    gpus = {"nvidia.com/gpu": "1"}
    named["spec"]["predictor"]["model"]["resources"] = {"limits": gpus, "requests": gpus}
    canary["spec"]["predictor"] |= {"canaryTrafficPercent": 10, "minReplicas": 2, "maxReplicas": 3}
    return [plain, legacy, own, named, canary]


def runtimes() -> list[Object]:
    """Those of the cluster that the made-up InferenceServices are for."""
    off, bare, nodes = (namespaced_runtime(name) for name in ("off", "bare", "many-nodes"))
    crowded = namespaced_runtime("crowded")
    off["spec"]["disabled"] = True
    bare["spec"] |= {"multiModel": True, "containers": [{"name": "main", "image": "x.y/z:1"}]}
    nodes["spec"]["workerSpec"] = {"containers": [{"name": "worker", "image": "x.y/z:1"}]}
    crowded["spec"]["volumes"].append({"name": "kserve-pvc-source", "emptyDir": {}})
    crowded["spec"]["supportedModelFormats"] = [{"name": "huggingface", "autoSelect": False}]
    return [cluster_runtime(), namespaced_runtime("mine"), off, bare, nodes, crowded]


def aimed() -> Iterator[Object]:
    """Each value that some rule is about, in an object that is valid otherwise."""
    for base, values in ((services()[0], AIMED), (runtimes()[1], AIMED_RUNTIME)):
        for path, each in values.items():
            for value in each:
                obj = copy.deepcopy(base)
                put(obj, path, copy.deepcopy(value))
                yield obj
    for into, parts in ((_predictor, PREDICTORS), (_model, MODELS)):
        for part in parts:
            obj = services()[0]
            _merge(into(obj), copy.deepcopy(part))
            yield obj
    for spec in SPECS:
        yield services()[0] | {"spec": copy.deepcopy(spec)}


def _predictor(obj: Object) -> Object:
    found: Object = obj["spec"]["predictor"]
    return found


def _model(obj: Object) -> Object:
    found: Object = obj["spec"]["predictor"]["model"]
    return found


def _merge(into: Object, part: Object) -> None:
    for name, value in part.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


@st.composite
def objects(draw: st.DrawFn, mistakes: tuple[Object, ...] = ()) -> Object:
    """`mistakes`: objects known to be refused, taken as they are or with something drawn into them."""
    pool = draw(st.sampled_from(["service"] * 6 + ["runtime"] * 2 + (["mistake"] * 3 if mistakes else [])))
    chosen = {"service": services(), "runtime": runtimes(), "mistake": list(mistakes)}[pool]
    obj = copy.deepcopy(draw(st.sampled_from(chosen)))
    if pool == "service":
        obj["metadata"]["name"] = draw(NAMES)
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        values = AIMED if obj["kind"] == "InferenceService" else AIMED_RUNTIME
        if draw(st.booleans()):
            path = draw(st.sampled_from(sorted(values)))
            put(obj, path, copy.deepcopy(draw(st.sampled_from(values[path]))))
        else:
            path, name = draw(st.sampled_from(schemas.places(obj["kind"])))
            put(obj, path, copy.deepcopy(draw(schemas.value_at(obj["kind"], path, name))))
    if draw(st.integers(0, 5)) == 0:
        damage(draw, obj)
    return obj


def put(obj: Object, path: schemas.Path_, value: Any) -> None:
    """Set a field, making what is around it; an entry "0" is the first, made where there is none."""
    here: Any = obj
    for step, after in zip(path, (*path[1:], None), strict=True):
        last = after is None
        empty: Any = value if last else ([] if after == "0" else {})
        if step == "0":
            if not isinstance(here, list):
                return
            if not here:
                here.append(empty)
            elif last or not isinstance(here[0], dict | list):
                here[0] = empty
            here = here[0]
        else:
            if not isinstance(here, dict):
                return
            if last or not isinstance(here.get(step), dict | list):
                here[step] = empty
            here = here[step]


def damage(draw: st.DrawFn, obj: Object) -> None:
    """One mistake as people make them: a letter too many, a field lost, text for a number."""
    places = [place for place in _inside(obj["spec"]) if place[0]]
    if not places:
        return
    parent, key = draw(st.sampled_from(places))
    kind = draw(st.sampled_from(["rename", "drop", "retype"]))
    if kind == "rename" and isinstance(key, str):
        parent[key + draw(st.sampled_from(["s", "x", "_"]))] = parent.pop(key)
    elif kind == "drop":
        del parent[key]
    else:
        parent[key] = draw(
            st.sampled_from([None, 7, "text", True, [], {}, [{}], -1, "{{.Labels.none}}", "{{.Nme}}"])
        )


def _inside(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in steps:
        found += [(value, key), *_inside(inner)]
    return found
