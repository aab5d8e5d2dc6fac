"""The Secret that all replicas share: its form, and reading and writing it.

ca.crt, ca.key              the authority that signed the leaf
tls.crt, tls.key            the leaf, served by every replica
next-ca.crt, next-ca.key    an authority already trusted, that will sign the next leaf
previous-ca.crt             an authority still trusted, that signs nothing any more
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stoker.kube.client import ApiError, Client
from stoker.kube.resource import SECRETS, Key, Object
from stoker.serving import names
from webhook.certificates import Certificate, Held, Pair

log = structlog.get_logger()

SECRET = "stoker-webhook-certificates"  # noqa: S105 (its name, not what is in it)


class Unreadable(Exception):
    """The Secret holds no authority that could be used. The text says what is wrong with it."""


class SecretStore:
    """The Secret that the replicas share."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._key = Key(namespace, SECRET)
        self._read: Object | None = None

    async def read(self) -> Held | None:
        """What it holds; None where there is no Secret or nothing usable in it."""
        self._read = None
        try:
            self._read = await self._client.get(SECRETS, self._key)
            return decode(self._read.get("data") or {})
        except ApiError as error:
            if not error.is_not_found:
                raise
        except Unreadable as fault:
            log.warning("the certificates' Secret is damaged and is made anew", reason=str(fault))
        return None

    async def write(self, held: Held) -> bool:
        """Store it in place of what was read last; False where another replica was first: read again.

        Raises ApiError: a 404 where there is no such namespace.
        """
        try:
            if self._read is None:
                await self._client.create(SECRETS, self._new(held))
            else:
                await self._client.replace(SECRETS, {**self._read, "data": encode(held)})
        except ApiError as error:
            deleted_meanwhile = error.is_not_found and self._read is not None
            if error.is_conflict or error.is_already_exists or deleted_meanwhile:
                return False
            raise
        return True

    def _new(self, held: Held) -> Object:
        labels = {names.APP_NAME_LABEL: "stoker-webhook", names.APP_PART_OF_LABEL: "stoker"}
        return {
            "apiVersion": SECRETS.api_version,
            "kind": SECRETS.kind,
            "metadata": {"name": self._key.name, "namespace": self._key.namespace, "labels": labels},
            "type": "Opaque",
            "data": encode(held),
        }


def encode(held: Held) -> dict[str, str]:
    """The Secret's `data`."""
    data = {"ca.crt": held.authority.certificate.pem, "ca.key": held.authority.key_pem}
    if held.leaf:
        data |= {"tls.crt": held.leaf.certificate.pem, "tls.key": held.leaf.key_pem}
    if held.coming:
        data |= {"next-ca.crt": held.coming.certificate.pem, "next-ca.key": held.coming.key_pem}
    if held.leaving:
        data |= {"previous-ca.crt": held.leaving.pem}
    return {name: base64.b64encode(value).decode() for name, value in data.items()}


def decode(data: Mapping[str, str]) -> Held:
    """From the Secret's `data`. Raises Unreadable where not even the authority can be used.

    Any other damaged part counts as absent, and planning makes it anew.
    """
    authority = _pair(data, "ca.crt", "ca.key")
    leaf = _pair_or_none(data, "tls.crt", "tls.key")
    if leaf and not _signed_by(leaf.certificate, authority.certificate):
        leaf = None
    try:
        leaving = _certificate(data, "previous-ca.crt")
    except Unreadable:
        leaving = None
    return Held(authority, leaf, _pair_or_none(data, "next-ca.crt", "next-ca.key"), leaving)


def _signed_by(leaf: Certificate, authority: Certificate) -> bool:
    try:
        leaf.x509.verify_directly_issued_by(authority.x509)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _field(data: Mapping[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(data[name], validate=True)
    except KeyError:
        raise Unreadable(f"{name} is missing") from None
    except (binascii.Error, ValueError, TypeError):
        raise Unreadable(f"{name} is not base64") from None


def _certificate(data: Mapping[str, str], name: str) -> Certificate:
    try:
        return Certificate(x509.load_pem_x509_certificate(_field(data, name)))
    except ValueError as fault:
        raise Unreadable(f"{name} is no certificate: {fault}") from None


def _pair(data: Mapping[str, str], certificate_name: str, key_name: str) -> Pair:
    certificate = _certificate(data, certificate_name)
    try:
        key = serialization.load_pem_private_key(_field(data, key_name), password=None)
        public = certificate.x509.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise Unreadable(f"{key_name} is no private key: {fault}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != public:
        raise Unreadable(f"{key_name} does not belong to {certificate_name}")
    return Pair(certificate, key)


def _pair_or_none(data: Mapping[str, str], certificate_name: str, key_name: str) -> Pair | None:
    try:
        return _pair(data, certificate_name, key_name)
    except Unreadable:
        return None
