"""What the replicas share survives the Secret's form, and damage to it."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.webhook.keys import CountedRandomness
from webhook.certificates import Held, fingerprints, make_authority, make_leaf
from webhook.secret import Unreadable, decode, encode

NOW = datetime.now(UTC)
LIFE = timedelta(days=7)


def held() -> Held:
    chance = CountedRandomness()
    authority, coming, leaving = (make_authority(NOW, LIFE * 8, chance) for _ in range(3))
    leaf = make_leaf(authority, ["stoker-webhook.stoker-system.svc", "127.0.0.1", "::1"], NOW, LIFE, chance)
    return Held(authority, leaf, coming, leaving.certificate)


HELD = held()


def same(one: Held, other: Held) -> bool:
    return encode(one) == encode(other)


@pytest.mark.parametrize("without", [(), ("coming",), ("leaving",), ("leaf",), ("coming", "leaving", "leaf")])
def test_what_was_written_is_read(without: tuple[str, ...]) -> None:
    before = replace(HELD, **dict.fromkeys(without))
    assert same(decode(encode(before)), before)
    assert decode(encode(before)).bundle == before.bundle
    assert fingerprints(before.bundle) == {one.fingerprint for one in before.trusted}


DAMAGE = ["", "!", base64.b64encode(b"nothing").decode(), base64.b64encode(HELD.bundle[:200]).decode()]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("tls.crt", "leaf"),
        ("tls.key", "leaf"),
        ("next-ca.crt", "coming"),
        ("next-ca.key", "coming"),
        ("previous-ca.crt", "leaving"),
    ],
)
def test_a_damaged_part_counts_as_absent(name: str, lost: str, damage: str) -> None:
    data = encode(HELD) | {name: damage}
    assert same(decode(data), replace(HELD, **{lost: None}))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_without_its_authority_nothing_is_usable(name: str, damage: str) -> None:
    with pytest.raises(Unreadable, match=name):
        decode(encode(HELD) | {name: damage})
    with pytest.raises(Unreadable, match="missing"):
        decode({})


def test_a_key_of_another_certificate_is_found_out() -> None:
    data = encode(HELD)
    with pytest.raises(Unreadable, match="does not belong"):
        decode(data | {"ca.key": data["next-ca.key"]})
    assert decode(data | {"tls.key": data["ca.key"]}).leaf is None


def test_a_leaf_of_another_authority_is_found_out() -> None:
    data = encode(HELD)
    other = data | {"ca.crt": data["next-ca.crt"], "ca.key": data["next-ca.key"]}
    assert decode(other).leaf is None


def test_openssl_takes_the_chain_under_its_strictest_rules() -> None:
    """In memory: a client that trusts the bundle and a server with the leaf, by name and by address."""
    pair = HELD
    assert pair.leaf is not None
    for name in ("stoker-webhook.stoker-system.svc", "127.0.0.1", "::1"):
        client_context = ssl.create_default_context(cadata=pair.bundle.decode())
        client_context.verify_flags |= ssl.VERIFY_X509_STRICT
        handshake(client_context, name, pair)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(ssl.create_default_context(cadata=pair.bundle.decode()), "elsewhere", pair)


def handshake(client_context: ssl.SSLContext, name: str, pair: Held) -> None:
    from webhook.keeper import LiveTls

    tls = LiveTls()
    assert pair.leaf is not None
    assert tls.serve(pair.leaf)
    assert not tls.serve(pair.leaf), "the same leaf again changes nothing"
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = tls.context.wrap_bio(to_server, to_client, server_side=True)
    done = set[ssl.SSLObject]()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    assert len(done) == 2
