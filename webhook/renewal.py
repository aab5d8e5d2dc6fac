"""What to do about the certificates, and when. Pure: plan says, take does; `keeper.py` reads and writes.

No admission call may fail because a certificate changes, with any number of replicas and no leader. So an
authority is never exchanged in one move:

    Announce   a coming authority is made; from now on clients are told to trust both
    Promote    clients have known it for a while: it signs a new leaf, the old authority is leaving
    Drop       every replica has had time to serve the new leaf: the old authority is trusted no more

Each step is one write of the Secret, guarded by its resourceVersion, so a crash or a second replica between
any two of them finds a state from which the same plan goes on. Only Start (nothing usable is held, or the
authority has expired) breaks trust, because there is none left to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple

from webhook.certificates import Certificate, Held, Randomness, make_authority, make_leaf

_AT_ONCE = datetime.min.replace(tzinfo=UTC)


class Step(Enum):
    """One change of the Secret."""

    KEEP = "Keep"
    START = "Start"
    RENEW_LEAF = "RenewLeaf"
    ANNOUNCE = "Announce"
    PROMOTE = "Promote"
    DROP = "Drop"


class Due(NamedTuple):
    """From this moment on the step is wanted."""

    at: datetime
    step: Step


@dataclass(frozen=True)
class Lifetimes:
    """How long things last. Certificates are renewed at two thirds of their life.

    Short leaves and a long authority as in cert-manager's own webhook. Raises ValueError where the parts of
    a rotation would not fit into what is left of a life.
    """

    authority: timedelta = timedelta(days=60)
    leaf: timedelta = timedelta(days=7)
    announce: timedelta = timedelta(minutes=5)
    """Between the registration trusting an authority and the first leaf signed by it: API servers learn the
    registration from a watch."""
    overlap: timedelta = timedelta(hours=24)
    """Between a new authority's first leaf and the end of trust in the old one: replicas learn the Secret
    from a watch, and one may be cut off for a while."""

    def __post_init__(self) -> None:
        if min(self.authority, self.leaf, self.announce, self.overlap) <= timedelta(0):
            raise ValueError("lifetimes must be longer than nothing")
        if self.overlap >= self.leaf * 2 / 3:
            raise ValueError(
                f"the overlap ({self.overlap}) must be shorter than two thirds of a leaf's life ({self.leaf})"
            )
        if self.announce + self.overlap >= self.authority / 3 or self.leaf >= self.authority:
            raise ValueError(
                f"an authority's life ({self.authority}) must be longer than a leaf's ({self.leaf}), and a"
                f" third of it than announcing ({self.announce}) and overlapping ({self.overlap}) together"
            )


def timetable(
    held: Held, lifetimes: Lifetimes, registered: Mapping[str, datetime], names: Iterable[str]
) -> list[Due]:
    """Every step that `held` leads to, the more pressing first.

    `registered`: since when the live registration has trusted which authority, by fingerprint.
    """
    authority = held.authority.certificate
    dues = [Due(authority.expires, Step.START)]
    if held.leaf is None or not held.leaf.certificate.names.issuperset(names):
        dues.append(Due(_AT_ONCE, Step.RENEW_LEAF))
    elif authority.expires > held.leaf.certificate.expires:
        # Otherwise the leaf already lasts as long as its authority, and a new one would gain nothing.
        dues.append(Due(_two_thirds(held.leaf.certificate), Step.RENEW_LEAF))
    if held.leaving and held.leaf:
        dues.append(Due(held.leaf.certificate.made + lifetimes.overlap, Step.DROP))
    if held.coming is None:
        dues.append(Due(_two_thirds(authority), Step.ANNOUNCE))
    else:
        dues.append(Due(held.coming.certificate.expires, Step.ANNOUNCE))
        since = registered.get(held.coming.certificate.fingerprint)
        if since is not None and held.leaving is None:
            dues.append(Due(since + lifetimes.announce, Step.PROMOTE))
    return dues


def plan(
    held: Held | None,
    now: datetime,
    lifetimes: Lifetimes,
    registered: Mapping[str, datetime],
    names: Iterable[str],
) -> Step:
    """The step to take now. Taking it and planning again ends in KEEP after at most a few rounds."""
    if held is None or not held.authority.certificate.valid_at(now):
        return Step.START
    if held.leaf and not held.leaf.certificate.valid_at(now):
        return Step.RENEW_LEAF
    for due in timetable(held, lifetimes, registered, names):
        if due.at <= now:
            return due.step
    return Step.KEEP


def next_due(
    held: Held, lifetimes: Lifetimes, registered: Mapping[str, datetime], names: Iterable[str]
) -> datetime:
    """When the plan changes next if nothing else does."""
    return min(due.at for due in timetable(held, lifetimes, registered, names))


def take(
    step: Step,
    held: Held | None,
    now: datetime,
    *,
    lifetimes: Lifetimes,
    names: Iterable[str],
    randomness: Randomness,
) -> Held:
    """What is held after the step. Raises ValueError for a step that does not apply to `held`."""
    if step is Step.START:
        authority = make_authority(now, lifetimes.authority, randomness)
        return Held(authority, make_leaf(authority, names, now, lifetimes.leaf, randomness))
    if held is None:
        raise ValueError(f"{step} without an authority")
    # Replicas that are reached under different names share one leaf: none takes away another's names.
    union = {*names, *(held.leaf.certificate.names if held.leaf else ())}
    if step is Step.RENEW_LEAF:
        return replace(held, leaf=make_leaf(held.authority, union, now, lifetimes.leaf, randomness))
    if step is Step.ANNOUNCE:
        return replace(held, coming=make_authority(now, lifetimes.authority, randomness))
    if step is Step.PROMOTE and held.coming:
        leaf = make_leaf(held.coming, union, now, lifetimes.leaf, randomness)
        return Held(held.coming, leaf, leaving=held.authority.certificate)
    if step is Step.DROP:
        return replace(held, leaving=None)
    raise ValueError(f"{step} does not apply")


def _two_thirds(certificate: Certificate) -> datetime:
    return certificate.made + (certificate.expires - certificate.made) * 2 / 3
