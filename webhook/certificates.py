"""The webhook's own X.509: authorities, and leaves signed by them.

Pure: no I/O, no clock; the time and the randomness come in. What to make when is `renewal.py`, how all of it
is stored is `secret.py`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Certificates are valid from a little before they are made: API servers' clocks differ.
SKEW = timedelta(minutes=5)


class Randomness(Protocol):
    """Where keys and serial numbers come from."""

    def key(self) -> ec.EllipticCurvePrivateKey:
        """A new private key."""
        ...

    def serial(self) -> int:
        """A new serial number: positive, at most 159 bits."""
        ...


class SystemRandomness:
    """The operating system's."""

    def key(self) -> ec.EllipticCurvePrivateKey:
        """A P-256 key: every Kubernetes API server accepts it, and it signs in well under a millisecond."""
        return ec.generate_private_key(ec.SECP256R1())

    def serial(self) -> int:
        """See Randomness."""
        return x509.random_serial_number()


@dataclass(frozen=True)
class Certificate:
    """A certificate and the moments that planning needs."""

    x509: x509.Certificate

    @property
    def pem(self) -> bytes:
        """PEM, ending in a newline."""
        return self.x509.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form, in hex: what names this certificate in logs and plans."""
        return self.x509.fingerprint(hashes.SHA256()).hex()

    @property
    def made(self) -> datetime:
        """When it was made (UTC)."""
        return self.x509.not_valid_before_utc + SKEW

    @property
    def expires(self) -> datetime:
        """When it ends (UTC)."""
        return self.x509.not_valid_after_utc

    @property
    def names(self) -> frozenset[str]:
        """Host names and addresses that it is valid for."""
        try:
            found = self.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return frozenset()
        addresses = found.get_values_for_type(x509.IPAddress)
        return frozenset([*found.get_values_for_type(x509.DNSName), *map(str, addresses)])

    def valid_at(self, now: datetime) -> bool:
        """Whether a client whose clock says `now` takes it."""
        return self.x509.not_valid_before_utc <= now < self.expires


@dataclass(frozen=True)
class Pair:
    """A certificate with its private key."""

    certificate: Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def key_pem(self) -> bytes:
        """The key as unencrypted PKCS#8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True)
class Held:
    """All that the replicas share. `leaf` is None where it was lost or damaged."""

    authority: Pair
    leaf: Pair | None
    coming: Pair | None = None
    leaving: Certificate | None = None

    @property
    def trusted(self) -> tuple[Certificate, ...]:
        """The authorities that a client must trust, the one that signed the leaf first."""
        others = (self.coming.certificate if self.coming else None, self.leaving)
        return (self.authority.certificate, *(other for other in others if other))

    @property
    def bundle(self) -> bytes:
        """`trusted` as PEM: the caBundle of the registration."""
        return b"".join(certificate.pem for certificate in self.trusted)


def make_authority(now: datetime, life: timedelta, randomness: Randomness) -> Pair:
    """A self-signed authority that may sign leaves and nothing below them."""
    key, serial = randomness.key(), randomness.serial()
    # A name of its own: with two authorities of one name, clients pick the signer by trial.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"stoker-webhook-ca-{serial % 2**32:08x}")])
    builder = (
        _builder(name, name, key.public_key(), now, now + life)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=False, certify=True), critical=True)
    )
    return Pair(Certificate(builder.sign(key, hashes.SHA256())), key)


def make_leaf(
    authority: Pair, names: Iterable[str], now: datetime, life: timedelta, randomness: Randomness
) -> Pair:
    """A server certificate for `names`, which never outlives its authority."""
    key, ordered = randomness.key(), sorted(set(names))
    issuer = authority.certificate.x509
    end = min(now + life, authority.certificate.expires)
    # The common name is for people only (clients read the alternative names) and holds 64 characters.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stoker-webhook")])
    builder = (
        _builder(issuer.subject, subject, key.public_key(), now, end)
        .serial_number(randomness.serial())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=True, certify=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in ordered]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    return Pair(Certificate(builder.sign(authority.key, hashes.SHA256())), key)


def fingerprints(bundle: bytes) -> frozenset[str]:
    """Fingerprints of the certificates of a PEM bundle; of none where it is no PEM."""
    try:
        return frozenset(Certificate(one).fingerprint for one in x509.load_pem_x509_certificates(bundle))
    except ValueError:
        return frozenset()


def _builder(
    issuer: x509.Name, subject: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public)
        .not_valid_before(now.astimezone(UTC) - SKEW)
        .not_valid_after(end.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, sign: bool, certify: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        key_cert_sign=certify,
        crl_sign=certify,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
