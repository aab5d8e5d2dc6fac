"""A real Prometheus scrapes a real stack under load: the dashboards show it, rules are well, alerts begin."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from e2e.cluster import Cluster
from e2e.objects import ECHO_RUNTIME, inference_service
from scripts.monitoring import listing, rules

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
Sample = dict[str, Any]


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster) -> Iterator[str]:
    """Prometheus' address, on the session's cluster; gone afterwards."""
    cluster.stoker("up", "--prometheus")
    found = json.loads(
        cluster.kubectl("get", "service", "prometheus", "-n", "stoker-monitoring", "-o", "json")
    )
    yield f"http://{cluster.env['INGRESS_HOST']}:{found['spec']['ports'][0]['nodePort']}"
    cluster.stoker("up", "--no-prometheus")
    assert "Prometheus" not in cluster.stoker("status")


def asked(url: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(
        f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10
    ) as answer:
        return json.load(answer)["data"]


def samples(url: str, query: str) -> list[Sample]:
    """What an instant query finds, NaN left out."""
    found = asked(url, "query", query=query)["result"]
    return [sample for sample in found if sample["value"][1] != "NaN"]


def scrapes_the_controller(url: str) -> bool:
    try:
        return bool(samples(url, 'up{job="stoker-controller"} == 1'))
    except OSError:  # Prometheus is not up yet
        return False


@contextmanager
def traffic(cluster: Cluster, name: str) -> Iterator[None]:
    """Streams in a row from three clients: one reads to the end, one leaves, one names no model of ours."""
    stop = threading.Event()

    def ask(number: int) -> None:
        client = cluster.client(f"{name}.default.example.com")
        while not stop.wait(0.05):
            try:
                model = name if number < 2 else "nobody"
                stream = client.completions.create(model=model, prompt="a b c d e", max_tokens=8, stream=True)
                for _ in stream:
                    if number == 1:
                        stream.close()
                        break
            except (openai.APIError, httpx.HTTPError):
                continue  # what is counted is the servers' affair

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=30)


@pytest.mark.timeout(400)
def test_dashboards_rules_and_alerts(cluster: Cluster, prometheus: str) -> None:
    cluster.apply(ECHO_RUNTIME)
    # What happens once, as the first Ready does, shows as a rate only where it was looked at before.
    cluster.wait("the controller is scraped", lambda: scrapes_the_controller(prometheus))
    # The others are on echo, which is ready at once; vLLM alone has a prefix cache.
    vllm = ("--backend=vllm", f"--model_id={MODEL}")
    cluster.apply(inference_service("measured", *vllm, model={"runtime": "kserve-huggingfaceserver"}))
    cluster.wait_ready("measured")
    promised = inference_service("promised", "--echo_token_seconds=0.01")
    promised["metadata"]["annotations"] = {
        "stoker.dev/objective-availability": "99",
        "stoker.dev/objective-ttft-seconds": "0.5",
    }
    cluster.apply(promised)
    cluster.apply(inference_service("broken", "--backend=huggingface", "--model_id=nobody/nothing"))
    refused = inference_service("refused")
    refused["metadata"]["annotations"] = {"stoker.dev/objective-ttft-seconds": "0.3"}  # between two borders
    cluster.wait_ready("promised")
    promised["spec"]["predictor"]["model"]["args"] = ["--echo_token_seconds=0.02"]
    promised["spec"]["predictor"]["canaryTrafficPercent"] = 50
    cluster.apply(promised)
    assert "nearest" in cluster.kubectl("apply", "-f", "-", stdin=json.dumps(refused), check=False)
    with traffic(cluster, "measured"), traffic(cluster, "promised"):
        cluster.wait_ready("promised")
        del promised["spec"]["predictor"]["canaryTrafficPercent"]
        promised["spec"]["predictor"]["model"]["args"] = ["--echo_token_seconds=0.015"]
        cluster.apply(promised)
        shown(prometheus, timeout=90)
    scraped(prometheus)
    evaluated(prometheus)


def shown(url: str, timeout: float) -> None:
    """Every query of every panel finds something."""
    missing = {
        (panel.dashboard, panel.row, panel.title, query.ref_id): listing.chosen(query.expr, interval="20s")
        for panel in listing.panels()
        for query in panel.queries
    }
    deadline = time.monotonic() + timeout
    while missing and time.monotonic() < deadline:
        time.sleep(1)
        missing = {where: query for where, query in missing.items() if not samples(url, query)}
    assert not missing, "\n".join(map(str, missing))


def scraped(url: str) -> None:
    """The labels are the ones that rules and dashboards join on, and nobody is left out."""
    (info, *_) = samples(url, 'stoker_runtime_build_info{name="promised"}')
    expected = {"job": "stoker-inferenceservices", "namespace": "default", "name": "promised"}
    assert info["metric"].items() >= expected.items()
    assert info["metric"]["revision"].startswith("promised-predictor-0000")
    jobs = {sample["metric"]["job"] for sample in samples(url, "up == 1")}
    ours = {f"stoker-{each}" for each in ("controller", "webhook", "gateway", "envoy", "inferenceservices")}
    assert jobs == ours


def evaluated(url: str) -> None:
    """Every rule is loaded and well; what was provoked is on its way to fire."""
    found = [rule for group in asked(url, "rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules.rules())
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}
    active = {
        (alert["labels"]["alertname"], alert["labels"].get("name"))
        for alert in asked(url, "alerts")["alerts"]
    }
    assert ("StokerInferenceServiceNotReady", "broken") in active
    assert ("StokerInferenceServiceNotReady", "promised") not in active
