"""The plan over time: no client ever meets a certificate that it does not trust."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webhook.keys import CountedRandomness
from webhook.certificates import SKEW, Held, Pair, make_authority, make_leaf
from webhook.renewal import Lifetimes, Step, next_due, plan, take

START = datetime(2030, 1, 1, tzinfo=UTC)
NAME = "stoker-webhook.stoker-system.svc"
LIVES = Lifetimes(
    authority=timedelta(seconds=900),
    leaf=timedelta(seconds=180),
    announce=timedelta(seconds=40),
    overlap=timedelta(seconds=60),
)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def started(lives: Lifetimes = LIVES) -> Held:
    return step(Step.START, None, START, lives)


def step(
    what: Step, held: Held | None, now: datetime, lives: Lifetimes = LIVES, names: tuple[str, ...] = (NAME,)
) -> Held:
    return take(
        what, held, now, lifetimes=lives, names=names, randomness=CountedRandomness(int(now.timestamp()))
    )


def verify(leaf: Pair, bundle: bytes, now: datetime) -> None:
    store = Store(x509.load_pem_x509_certificates(bundle))
    PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(NAME)).verify(
        leaf.certificate.x509, []
    )


@cache
def chains(leaf_pem: bytes, bundle: bytes) -> bool:
    """Whether the leaf chains to the bundle, times left aside: verifying is what takes time here."""
    leaf = x509.load_pem_x509_certificate(leaf_pem)
    store = Store(x509.load_pem_x509_certificates(bundle))
    verifier = (
        PolicyBuilder().store(store).time(leaf.not_valid_before_utc).build_server_verifier(x509.DNSName(NAME))
    )
    try:
        verifier.verify(leaf, [])
    except x509.verification.VerificationError:
        return False
    return True


def test_a_rotation_from_start_to_end() -> None:
    held, registered, seen = None, {}, []
    now = START
    while now <= after(1150):
        what = plan(held, now, LIVES, registered, [NAME])
        if what is not Step.KEEP:
            held = step(what, held, now)
            seen.append((what, round((now - START).total_seconds())))
        assert held is not None
        registered = {one.fingerprint: registered.get(one.fingerprint, now) for one in held.trusted}
        now += timedelta(seconds=1)
    renewed = [(Step.RENEW_LEAF, seconds) for seconds in (120, 240, 360, 480, 600)]
    assert seen[:1] == [(Step.START, 0)]
    assert seen[1:6] == renewed
    # 600 is two thirds of 900; then 40 s of announcing; the new leaf 60 s old: the old authority goes.
    assert seen[6:9] == [(Step.ANNOUNCE, 601), (Step.PROMOTE, 641), (Step.DROP, 701)]
    assert [what for what, _ in seen[9:]] == [Step.RENEW_LEAF] * len(seen[9:])


def test_without_a_registration_that_knows_it_a_coming_authority_signs_nothing() -> None:
    held = step(Step.ANNOUNCE, started(), after(600))
    held = replace(held, leaf=step(Step.RENEW_LEAF, held, after(600)).leaf)
    assert held.coming is not None
    assert plan(held, after(650), LIVES, {}, [NAME]) is Step.KEEP
    known = {held.coming.certificate.fingerprint: after(610)}
    assert plan(held, after(649), LIVES, known, [NAME]) is Step.KEEP
    assert plan(held, after(650), LIVES, known, [NAME]) is Step.PROMOTE


def test_promoting_keeps_the_old_authority_trusted_and_signs_with_the_new() -> None:
    before = step(Step.ANNOUNCE, started(), after(600))
    held = step(Step.PROMOTE, before, after(650))
    assert held.leaf is not None
    assert before.leaf is not None
    verify(held.leaf, before.bundle, after(650))
    verify(before.leaf, held.bundle, after(100))
    verify(held.leaf, step(Step.DROP, held, after(710)).bundle, after(710))


def test_an_expired_authority_is_replaced_at_once_whatever_else_is_held() -> None:
    held = step(Step.ANNOUNCE, started(), after(600))
    assert plan(held, after(899), LIVES, {}, [NAME]) is not Step.START
    assert plan(held, after(900), LIVES, {}, [NAME]) is Step.START


def test_a_certificate_from_a_clock_that_ran_ahead_is_made_anew() -> None:
    assert plan(started(), START - SKEW - timedelta(seconds=1), LIVES, {}, [NAME]) is Step.START
    held = replace(
        started(), leaf=make_leaf(started().authority, [NAME], after(600), LIVES.leaf, CountedRandomness())
    )
    assert plan(held, after(200), LIVES, {}, [NAME]) is Step.RENEW_LEAF


def test_a_leaf_that_lasts_as_long_as_its_authority_is_not_renewed_for_nothing() -> None:
    held = step(Step.ANNOUNCE, started(), after(600))
    held = replace(held, leaf=step(Step.RENEW_LEAF, held, after(850)).leaf)
    assert held.leaf is not None
    assert held.leaf.certificate.expires == held.authority.certificate.expires
    assert plan(held, after(899), LIVES, {}, [NAME]) is Step.KEEP


def test_replicas_under_different_names_share_one_leaf() -> None:
    held = started()
    assert plan(held, after(1), LIVES, {}, ["127.0.0.1"]) is Step.RENEW_LEAF
    held = step(Step.RENEW_LEAF, held, after(1), names=("127.0.0.1",))
    assert held.leaf is not None
    assert held.leaf.certificate.names == {NAME, "127.0.0.1"}
    for names in ([NAME], ["127.0.0.1"]):
        assert plan(held, after(2), LIVES, {}, names) is Step.KEEP


@pytest.mark.parametrize(
    ("field_", "seconds"),
    [("leaf", 900), ("overlap", 120), ("overlap", 260), ("announce", 250), ("announce", 0), ("leaf", 0)],
)
def test_lifetimes_that_leave_no_room_for_a_rotation_are_refused(field_: str, seconds: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(LIVES, **{field_: timedelta(seconds=seconds)})


def test_a_step_that_does_not_apply_is_refused() -> None:
    with pytest.raises(ValueError, match="does not apply"):
        step(Step.PROMOTE, started(), after(1))
    with pytest.raises(ValueError, match="without an authority"):
        step(Step.RENEW_LEAF, None, after(1))


@given(
    seconds=st.integers(0, 899),
    coming=st.booleans(),
    leaving=st.booleans(),
    known=st.none() | st.integers(0, 899),
)
@settings(max_examples=150, deadline=None)
def test_nothing_is_due_before_next_due_and_something_is_then(
    seconds: int, coming: bool, leaving: bool, known: int | None
) -> None:
    held, registered = started(), {}
    if coming:
        held = step(Step.ANNOUNCE, held, after(0))
        assert held.coming is not None
        if known is not None:
            registered[held.coming.certificate.fingerprint] = after(known)
    if leaving:
        held = replace(
            held, leaving=make_authority(START, LIVES.authority, CountedRandomness(99)).certificate
        )
    due = next_due(held, LIVES, registered, [NAME])
    if after(seconds) < due:
        assert plan(held, after(seconds), LIVES, registered, [NAME]) is Step.KEEP
    else:
        assert plan(held, after(seconds), LIVES, registered, [NAME]) is not Step.KEEP


@dataclass
class Replica:
    """One process: what it serves, what it knows of the registration, what it is about to apply."""

    leaf: Pair | None = None
    since: dict[str, datetime] = field(default_factory=dict)
    about_to_apply: bytes | None = None


@dataclass
class World:
    """The Secret, the registration's history and replicas that act one after the other."""

    now: datetime = START
    secret: Held | None = None
    bundles: list[tuple[datetime, bytes]] = field(default_factory=list)
    replicas: list[Replica] = field(default_factory=lambda: [Replica(), Replica(), Replica()])
    steps: list[Step] = field(default_factory=list)

    def look_and_settle(self, replica: Replica) -> None:
        live = self.bundles[-1][1] if self.bundles else b""
        trusted = {one.fingerprint for one in (self.secret.trusted if self.secret else ()) if one.pem in live}
        replica.since = {one: replica.since.get(one, self.now) for one in trusted}
        while (what := plan(self.secret, self.now, LIVES, replica.since, [NAME])) is not Step.KEEP:
            self.secret = step(what, self.secret, self.now)
            self.steps.append(what)
        assert self.secret is not None
        replica.leaf = self.secret.leaf
        replica.about_to_apply = self.secret.bundle

    def apply(self, replica: Replica) -> None:
        """Perhaps long after looking: what is applied may be stale."""
        if replica.about_to_apply is not None:
            self.bundles.append((self.now, replica.about_to_apply))
            replica.about_to_apply = None

    def check(self) -> None:
        """Every API server, even one that hears of the registration late, trusts every replica."""
        lag = LIVES.announce / 2
        past = [bundle for at, bundle in self.bundles if at <= self.now - lag][-1:]
        recent = [bundle for at, bundle in self.bundles if at > self.now - lag]
        for bundle in past + recent if past else []:
            for replica in self.replicas:
                if replica.leaf:
                    assert chains(replica.leaf.certificate.pem, bundle)
                    assert replica.leaf.certificate.valid_at(self.now)  # it never outlives its authority


ACTIONS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["pass", "pass", "look", "restart"]), st.integers(1, 15)),
    min_size=120,
    max_size=180,
)


@given(ACTIONS)
@settings(max_examples=20, deadline=None)
def test_every_replica_is_trusted_at_every_moment(actions: list[tuple[int, str, int]]) -> None:
    world = World()
    heard = [START, START, START]
    for number, action, seconds in actions:
        world.now += timedelta(seconds=seconds)
        # The conditions under which it is promised: nobody is cut off for an overlap, or applies what he
        # read half an announcement ago.
        for one, replica in enumerate(world.replicas):
            if one == number or world.now - heard[one] > timedelta(seconds=15):
                if action == "restart":
                    world.replicas[one] = replica = Replica()  # noqa: PLW2901
                else:
                    world.apply(replica)
                world.look_and_settle(replica)
                if action != "look":
                    world.apply(replica)
                heard[one] = world.now
        world.check()
    if world.now > after(850):
        assert Step.PROMOTE in world.steps
        assert world.steps.count(Step.START) == 1
