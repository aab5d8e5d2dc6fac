"""Certificates: who they are for, who signed them, and who may read the keys."""

from __future__ import annotations

import base64
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from stoker.local.certificates import Authority, kubeconfig, write_private
from stoker.local.control_plane import Endpoints, write_certificates

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_server_certificate_names_its_hosts_and_its_authority() -> None:
    authority = Authority("test", now=NOW)
    certificate = x509.load_pem_x509_certificate(
        authority.server("api", ["localhost", "198.18.1.2"]).certificate
    )
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["198.18.1.2"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
    assert (
        certificate.not_valid_before_utc < NOW < NOW + timedelta(days=300) < certificate.not_valid_after_utc
    )


def test_a_client_certificate_carries_user_and_groups_and_serves_nobody() -> None:
    client = Authority("test").client("system:node:stoker", organizations=["system:nodes"])
    certificate = x509.load_pem_x509_certificate(client.certificate)
    subject = certificate.subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:stoker"]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:nodes"]
    usage = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]  # type: ignore[call-overload]


def test_one_component_does_not_open_etcd(tmp_path: Path) -> None:
    write_certificates(tmp_path, Endpoints("127.0.0.1", 1, 2, 3), node="stoker")
    client = (tmp_path / "admin.crt").read_bytes(), (tmp_path / "ca.crt").read_bytes()
    assert (tmp_path / "etcd-ca.crt").read_bytes() not in client
    etcd = x509.load_pem_x509_certificate((tmp_path / "etcd.crt").read_bytes())
    etcd.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "etcd-ca.crt").read_bytes()))
    assert not (tmp_path / "ca.key").exists(), "an authority's key is never written"


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    write_certificates(tmp_path, Endpoints("127.0.0.1", 1, 2, 3))
    secret = [*tmp_path.glob("*.key"), *tmp_path.glob("*.kubeconfig")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "admin.crt", tmp_path / "admin.key")


def test_a_private_file_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o666)
    write_private(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_a_kubeconfig_stands_alone() -> None:
    authority = Authority("test")
    client = authority.client("someone")
    document = yaml.safe_load(kubeconfig("https://198.18.1.2:6443", authority.certificate, client))
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    assert cluster["server"] == "https://198.18.1.2:6443"
    assert base64.b64decode(cluster["certificate-authority-data"]) == authority.certificate
    assert base64.b64decode(user["client-key-data"]) == client.key
