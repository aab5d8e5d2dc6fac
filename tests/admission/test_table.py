"""Every mistake of the table through the real API server: which layer stops it, where and in which words.

And its valid neighbour, let through; without the policy; in a trusted namespace; without the webhook.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.cli.validation.cluster import Surroundings
from stoker.cli.validation.documents import Document
from stoker.cli.validation.judging import Judge
from stoker.configuration import load_args_schemas
from stoker.kube.calls import Request
from stoker.kube.client import ApiError, Client
from stoker.kube.resource import NAMESPACES, VALIDATING_WEBHOOK_CONFIGURATIONS, Key, Resource
from stoker.local.control_plane import ApiServer
from stoker.serving.problems import FieldProblem
from stoker.serving.settings import Settings
from tests.admission.cases import LAYERS, TABLE, Case
from tests.admission.table.objects import Object, isvc, runtime
from tests.webhook.objects import ARGS_SCHEMAS, cluster_runtime
from tests.webhook.program import CLUSTER_RUNTIMES, INFERENCE_SERVICES, Cluster, cluster, eventually
from webhook.catalogue import SERVING_RUNTIMES
from webhook.registration import NAME

# The whole table is asked in the first test's setup.
pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

_MANIFESTS = Path(__file__).parents[2] / "manifests"
_GROUP = "admissionregistration.k8s.io"
POLICIES = Resource(
    _GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
BINDINGS = Resource(
    _GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)
NAMESPACE, TRUSTED = "admission-table", "admission-trusted"
_AT_ONCE = 8
SECURITY = [case for case in TABLE if case.layer == "policy"]
RUNTIMES = [
    runtime(**fields) | {"metadata": {"name": name, "namespace": NAMESPACE}}
    for name, fields in (
        ("table-other", {"supportedModelFormats": [{"name": "other"}]}),
        ("table-disabled", {"disabled": True, "supportedModelFormats": [{"name": "huggingface"}]}),
    )
]
OFFLINE = Judge(
    Surroundings([cluster_runtime(), *RUNTIMES], {TRUSTED: {"stoker.dev/security": "trusted"}}),
    Settings(),
    load_args_schemas(ARGS_SCHEMAS),
)


@dataclass
class Answers:
    """By name of the case; None where the API server would have stored the object."""

    bad: dict[str, ApiError | None] = field(default_factory=dict)
    good: dict[str, ApiError | None] = field(default_factory=dict)
    with_policy: dict[str, ApiError | None] = field(default_factory=dict)
    good_with_policy: dict[str, ApiError | None] = field(default_factory=dict)
    trusted: dict[str, ApiError | None] = field(default_factory=dict)
    without_webhook: dict[str, ApiError | None] = field(default_factory=dict)
    updates: dict[str, ApiError | None] = field(default_factory=dict)
    """Of an object that was stored before there were rules."""


@pytest.fixture(scope="module")
def answers(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return asyncio.run(_ask_all(api_server, tmp_path_factory.mktemp("table")))


async def _ask_all(server: ApiServer, folder: Path) -> Answers:
    got = Answers()
    async with cluster(server, folder, "admission-webhook") as made:
        client = made.client
        await _prepare(made)
        try:
            await _ask(client, TABLE, lambda case: case.bad, got.bad)
            await _ask(client, TABLE, lambda case: case.good, got.good)
            await _install_policy(client)
            await _ask(client, SECURITY, lambda case: case.bad, got.with_policy)
            await _ask(client, SECURITY, lambda case: case.good, got.good_with_policy)
            await _ask(client, SECURITY, lambda case: _moved(case.bad, TRUSTED), got.trusted)
            await _update(client, got.updates)
            for replica in made.replicas:
                replica.stop()  # a living one registers itself again
            await client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME))
            unjudged = isvc(model={"modelFormat": {"name": "nobody"}})
            await eventually(lambda: _passes(client, unjudged), "still asked")
            await _ask(client, SECURITY, lambda case: case.bad, got.without_webhook)
        finally:
            await client.delete(BINDINGS, Key("", "stoker-security"))
            await client.delete(POLICIES, Key("", "stoker-security"))
            await client.delete(CLUSTER_RUNTIMES, Key("", cluster_runtime()["metadata"]["name"]))
    return got


async def _prepare(made: Cluster) -> None:
    """Namespaces, runtimes, and a webhook that knows them."""
    client = made.client
    trusted = {"metadata": {"name": TRUSTED, "labels": {"stoker.dev/security": "trusted"}}}
    for namespace in ({"metadata": {"name": NAMESPACE}}, trusted):
        await client.apply(NAMESPACES, namespace)
    await client.apply(CLUSTER_RUNTIMES, cluster_runtime())
    for obj in RUNTIMES:
        await client.apply(SERVING_RUNTIMES, obj)
    await client.create(INFERENCE_SERVICES, OLD)
    await made.start()
    for known in ("kserve-huggingfaceserver", "table-other"):
        form = {"name": "other"} if known == "table-other" else {"name": "huggingface"}
        probe = isvc(model={"runtime": known, "modelFormat": form})
        await eventually(lambda probe=probe: _passes(client, probe), f"{known} does not reach the webhook")
    # The trusted namespace's label, too, comes by a watch.
    probe = _moved(isvc(hostNetwork=True), TRUSTED)
    await eventually(lambda: _passes(client, probe), "the namespace's label does not reach the webhook")


async def _update(client: Client, into: dict[str, ApiError | None]) -> None:
    """Changes of the old object, with webhook and policy."""
    key = Key(NAMESPACE, OLD["metadata"]["name"])
    more = [*OLD["spec"]["predictor"]["model"]["env"], {"name": "PYTHONPATH", "value": "x"}]
    for name, patch in (
        ("replicas", {"spec": {"predictor": {"minReplicas": 2}}}),
        ("another variable", {"spec": {"predictor": {"model": {"env": more}}}}),
        ("another part of the node", {"spec": {"predictor": {"hostPID": True}}}),
        (
            "another flag",
            {"spec": {"predictor": {"model": {"args": ["--model_id=a/b", "--gone=1", "--no_such"]}}}},
        ),
        ("one mistake less", {"spec": {"predictor": {"hostNetwork": None}}}),
        ("finalizer", {"metadata": {"finalizers": ["stoker.dev/test"]}}),
    ):
        try:
            await client.merge_patch(INFERENCE_SERVICES, key, patch)
            into[name] = None
        except ApiError as error:
            into[name] = error
    await client.delete(INFERENCE_SERVICES, key)
    await client.merge_patch(INFERENCE_SERVICES, key, {"metadata": {"finalizers": None}})
    with pytest.raises(ApiError, match="not found"):
        await client.get(INFERENCE_SERVICES, key)


async def _install_policy(client: Client) -> None:
    """The shipped policy, for this test's namespaces only: other tests share the API server."""
    policy = yaml.safe_load((_MANIFESTS / "policy" / "policy.yaml").read_text())
    binding = yaml.safe_load((_MANIFESTS / "policy" / "binding.yaml").read_text())
    mine = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [NAMESPACE, TRUSTED]}
    binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"].append(mine)
    await client.apply(POLICIES, policy)
    await client.apply(BINDINGS, binding)

    async def holds() -> bool:
        return "ValidatingAdmissionPolicy" in str(await _answer(client, isvc(hostNetwork=True)))

    await eventually(holds, "the policy does not hold")


async def _ask(
    client: Client, cases: list[Case], of: Callable[[Case], Object], into: dict[str, ApiError | None]
) -> None:
    """A dry run of a create for each, strictly, a few at a time."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(case: Case) -> None:
        async with free:
            into[case.name] = await _answer(client, of(case))

    await asyncio.gather(*(one(case) for case in cases))


async def _answer(client: Client, obj: Object) -> ApiError | None:
    resource = INFERENCE_SERVICES if obj["kind"] == "InferenceService" else SERVING_RUNTIMES
    query = {"dryRun": "All", "fieldValidation": "Strict"}  # as kubectl asks
    request = Request("POST", resource.path(obj["metadata"]["namespace"]), query, obj, idempotent=False)
    try:
        await client._calls.call(request)
    except ApiError as error:
        return error
    return None


async def _passes(client: Client, obj: Object) -> bool:
    return await _answer(client, obj) is None


OLD = isvc(
    "old",
    model={"env": [{"name": "LD_PRELOAD", "value": "x"}], "args": ["--model_id=a/b", "--gone=1"]},
    hostNetwork=True,
)


def _moved(obj: Object, namespace: str) -> Object:
    moved = copy.deepcopy(obj)
    moved["metadata"]["namespace"] = namespace
    return moved


def _rule_messages() -> set[str]:
    """Of the CRDs' CEL rules."""
    found: set[str] = set()

    def walk(tree: Any) -> None:
        if isinstance(tree, dict):
            for rule in tree.get("x-kubernetes-validations") or []:
                found.add(rule["message"])
        for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
            walk(each)

    for path in (_MANIFESTS / "crds").glob("*.yaml"):
        walk(yaml.safe_load(path.read_text()))
    return found


RULE_MESSAGES = _rule_messages()


def layer_of(error: ApiError) -> str:
    """The layer that refused."""
    if error.message.startswith('admission webhook "validate.stoker.dev" denied the request: '):
        return "webhook"
    if "ValidatingAdmissionPolicy 'stoker-security'" in error.message:
        return "policy"
    return "cel" if any(message in error.message for message in RULE_MESSAGES) else "schema"


def _says(error: ApiError, path: str, words: str) -> bool:
    if f'unknown field "{path}"' in error.message:
        return words in error.message  # no causes: strict decoding comes before validation
    causes = (error.details or {}).get("causes") or []
    return any(cause.get("field") == path and words in cause.get("message", "") for cause in causes)


NAMES = [case.name for case in TABLE]


def test_the_table_is_large_and_every_layer_has_its_rows() -> None:
    assert len(TABLE) >= 150
    assert len(set(NAMES)) == len(NAMES)
    assert {case.layer for case in TABLE} == set(LAYERS)


@pytest.mark.parametrize("case", TABLE, ids=NAMES)
def test_refused_at_its_field_and_its_neighbour_allowed(answers: Answers, case: Case) -> None:
    error = answers.bad[case.name]
    assert error is not None, "it would be stored"
    # Without the policy the webhook stops what the policy would.
    assert layer_of(error) == ("webhook" if case.layer == "policy" else case.layer), error
    assert _says(error, case.field, case.words), error
    assert answers.good[case.name] is None


def offline(obj: Object) -> Sequence[FieldProblem]:
    """What `stoker validate` says of it."""
    (judged,) = OFFLINE.judge([Document("table", 1, obj, {})])
    assert judged.verdict is not None
    return judged.verdict.problems


@pytest.mark.parametrize("case", TABLE, ids=NAMES)
def test_the_command_line_says_the_same_without_a_cluster(case: Case) -> None:
    found = offline(case.bad)
    # A rule of the CRD stands at an object, the same one here sometimes at the field in it.
    assert any(each.field.startswith(case.field) or case.field.startswith(each.field) for each in found), (
        found
    )
    if case.layer in ("webhook", "policy"):
        assert any(each.field == case.field and case.words in each.message for each in found), found
    assert offline(case.good) == ()
    if case.layer == "policy":
        trusted = offline(_moved(case.bad, TRUSTED))
        assert not any("stoker.dev/security" in each.message for each in trusted), trusted


@pytest.mark.parametrize("case", SECURITY, ids=[case.name for case in SECURITY])
def test_the_security_list_holds_with_and_without_the_webhook(answers: Answers, case: Case) -> None:
    for error in (answers.with_policy[case.name], answers.without_webhook[case.name]):
        assert error is not None
        assert (layer_of(error), error.status) == ("policy", 403), error
        assert "stoker.dev/security: trusted" in error.message
    assert answers.good_with_policy[case.name] is None
    # In a trusted namespace nobody refuses it for that; a flag may still be none of the image's.
    trusted = answers.trusted[case.name]
    assert trusted is None or "stoker.dev/security" not in trusted.message, trusted


def test_an_update_is_refused_only_for_what_it_makes_worse(answers: Answers) -> None:
    refused = {name: error for name, error in answers.updates.items() if error is not None}
    assert {name: layer_of(error) for name, error in refused.items()} == {
        "another variable": "policy",
        "another part of the node": "policy",
        "another flag": "webhook",
    }
    assert "PYTHONPATH" in refused["another variable"].message
    assert "--gone" not in refused["another flag"].message
    assert _says(refused["another flag"], "spec.predictor.model.args[2]", "Unknown flag --no_such")
