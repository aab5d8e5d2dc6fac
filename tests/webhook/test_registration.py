"""The registration: applied once TLS is served, left alone while it is right, put right when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.kube.client import ApiError
from stoker.kube.resource import NAMESPACES, VALIDATING_WEBHOOK_CONFIGURATIONS, Key
from stoker.local.control_plane import ApiServer
from stoker.serving.settings import Settings
from tests.ports import free_port
from tests.webhook.keys import CountedRandomness
from tests.webhook.program import Cluster, cluster
from webhook import registration as module
from webhook.certificates import Held, make_authority, make_leaf
from webhook.keeper import LiveTls
from webhook.metrics import Metrics
from webhook.options import parse_options
from webhook.registration import NAME, NotServed, Reach, Registrar, check_served
from webhook.review import Rules
from webhook.server import Admission, Leaving, serving

NAMESPACE = "webhook-registration"
SERVICE = Reach(Key(NAMESPACE, "stoker-webhook"))
URL = Reach(Key(NAMESPACE, "stoker-webhook"), "https://127.0.0.1:9443")


def held(reach: Reach, serial: int = 1) -> Held:
    now, chance = datetime.now(UTC), CountedRandomness(serial)
    authority = make_authority(now, timedelta(days=60), chance)
    return Held(authority, make_leaf(authority, reach.names, now, timedelta(days=7), chance))


@asynccontextmanager
async def tls_server(certificates: Held) -> AsyncIterator[tuple[str, int]]:
    tls = LiveTls()
    assert certificates.leaf is not None
    tls.serve(certificates.leaf)
    admission = Admission(lambda asked: Rules(Settings()), Metrics())
    async with serving(admission, "127.0.0.1", 0, tls=tls.context, leaving=Leaving()) as address:
        yield address


@pytest.fixture
async def made(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(module, "SERVICE_TRIES", 1)  # there is no DNS here that knows a Service
    async with cluster(api_server, tmp_path, NAMESPACE) as opened:
        yield opened


@pytest.mark.apiserver
@pytest.mark.parametrize("reach", [SERVICE, URL], ids=["service", "url"])
async def test_it_is_applied_once_and_then_left_alone(made: Cluster, reach: Reach) -> None:
    certificates = held(reach)
    assert certificates.leaf is not None
    bundle, leaf = certificates.bundle, certificates.leaf.certificate
    async with tls_server(certificates) as address:
        clock = Clock()
        registrar = Registrar(made.client, reach, address, clock=clock)
        assert await registrar.look() is None
        assert await registrar.register(None, bundle, leaf)
        live = await registrar.look()
        assert live is not None
        assert not await registrar.register(live, bundle, leaf), "nothing differs: nothing is written"
        clock.now += timedelta(minutes=1)
        await registrar.look()
        assert registrar.since == {certificates.authority.certificate.fingerprint: START}
    namespace = await made.client.get(NAMESPACES, Key("", NAMESPACE))
    assert live["metadata"]["ownerReferences"][0]["uid"] == namespace["metadata"]["uid"]
    webhook, warner = live["webhooks"]
    assert (webhook["failurePolicy"], webhook["timeoutSeconds"], webhook["sideEffects"]) == (
        "Fail",
        2,
        "None",
    )
    asked = {(rule["scope"], *rule["resources"], *rule["operations"]) for rule in webhook["rules"]}
    assert asked == {
        ("Namespaced", "inferenceservices", "CREATE", "UPDATE"),
        ("Namespaced", "servingruntimes", "CREATE", "UPDATE"),
        ("Cluster", "clusterservingruntimes", "CREATE", "UPDATE"),
    }
    # Deletions are told of and can be stopped by nothing here.
    assert (warner["failurePolicy"], warner["timeoutSeconds"]) == ("Ignore", 1)
    assert {(*rule["resources"], *rule["operations"]) for rule in warner["rules"]} == {
        ("servingruntimes", "DELETE"),
        ("clusterservingruntimes", "DELETE"),
    }
    assert warner["clientConfig"] == webhook["clientConfig"]


@pytest.mark.apiserver
async def test_it_moves_from_a_url_to_a_service_and_is_put_right(made: Cluster) -> None:
    certificates = held(replace(URL))
    assert certificates.leaf is not None
    bundle, leaf = certificates.bundle, certificates.leaf.certificate
    async with tls_server(certificates) as address:
        by_url = Registrar(made.client, URL, address, clock=Clock())
        assert await by_url.register(None, bundle, leaf)
        patch = {"webhooks": []}
        await made.client.merge_patch(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME), patch)
        live = await by_url.look()
        assert by_url.since == {}, "nobody trusts it while it is not registered"
        assert await by_url.register(live, bundle, leaf)
        assert len(by_url.since) == 1
    certificates = held(SERVICE)
    assert certificates.leaf is not None
    async with tls_server(certificates) as address:
        by_service = Registrar(made.client, SERVICE, address, clock=Clock())
        live = await by_service.look()
        assert await by_service.register(live, certificates.bundle, certificates.leaf.certificate)
        live = await by_service.look()
    assert live is not None
    assert live["webhooks"][0]["clientConfig"].keys() == {"caBundle", "service"}


@pytest.mark.apiserver
async def test_nothing_is_applied_while_tls_is_not_as_promised(made: Cluster) -> None:
    certificates = held(URL)
    assert certificates.leaf is not None
    bundle, leaf = certificates.bundle, certificates.leaf.certificate
    async with tls_server(held(URL, serial=100)) as address:
        for where in (address, ("127.0.0.1", free_port())):
            with pytest.raises(NotServed):
                await Registrar(made.client, URL, where, clock=Clock()).register(None, bundle, leaf)
    async with tls_server(certificates) as address:
        looking = Registrar(made.client, URL, address, clock=Clock(), writes=False)
        assert not await looking.register(None, bundle, leaf)
    with pytest.raises(ApiError) as missing:
        await made.registration()
    assert missing.value.is_not_found


async def test_the_handshake_fails_as_an_api_servers_would() -> None:
    certificates, other = held(URL), held(URL, serial=100)
    assert certificates.leaf is not None
    assert other.leaf is not None
    leaf = certificates.leaf.certificate
    async with tls_server(certificates) as address:
        await check_served(address, "127.0.0.1", certificates.bundle, leaf)
        with pytest.raises(NotServed, match="verify failed"):
            await check_served(address, "127.0.0.1", other.bundle, leaf)
        with pytest.raises(NotServed, match=r"[Mm]ismatch"):
            await check_served(address, "elsewhere", certificates.bundle, leaf)
        with pytest.raises(NotServed, match="another certificate"):
            await check_served(address, "127.0.0.1", certificates.bundle, other.leaf.certificate)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NotServed, match="TimeoutError"):
            await check_served(server.sockets[0].getsockname(), "127.0.0.1", certificates.bundle, leaf)


START = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@given(st.integers(1, 65535))
@settings(max_examples=20)
def test_port_0_of_the_url_stands_for_the_one_listened_on(port: int) -> None:
    options = parse_options(["--url=https://127.0.0.1:0"])
    assert options.reach(port).url == f"https://127.0.0.1:{port}"
    assert options.host == "127.0.0.1"
    assert parse_options(["--url=https://127.0.0.1:7"]).reach(port).url == "https://127.0.0.1:7"


def test_flags_say_how_it_is_reached() -> None:
    options = parse_options(["--namespace=a"])
    assert options.reach(9443).names == ("stoker-webhook.a.svc",)
    assert options.host is None
    assert parse_options(["--service=b/c"]).reach(9443).names == ("c.b.svc",)
    assert parse_options(["--domain=x.y"]).settings.domain == "x.y"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--url=http://127.0.0.1:1"], "https://HOST:PORT"),
        (["--ca-life=2h"], "overlap"),
        (["--leaf-life=7"], "s, m, h or d"),
        (["--settings-file=/does/not/exist"], "No such file"),
        (["--name=x"], "unrecognized"),
    ],
)
def test_a_wrong_flag_ends_the_program_with_the_reason(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(flags)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_wrong_setting_ends_the_program_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("domian: example.org\n")
    with pytest.raises(SystemExit):
        parse_options([f"--settings-file={file}"])
    assert "domain" in capsys.readouterr().err
    file.write_text("")
    assert parse_options([f"--settings-file={file}"]).settings == Settings()
