"""Authorities without key identifiers serve, on Pythons that ask for them too; chain, name and dates still count.

Kubernetes clusters born before 1.16 on EKS, and many private PKIs, have such authorities. From 3.13 on Python refuses
them by default (VERIFY_X509_STRICT), and the image has such a Python.
"""

import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from cluster_rig.other_python import VERSION, OtherPython
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.foreign_entra import Reply, discovery, foreign

PROBE = Path(__file__).parents[1] / "support" / "strict_x509_probe.py"
DAY = datetime.timedelta(days=1)
TOKEN = json.dumps({"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600})
ANSWERS = {
    "openid-configuration": discovery(),
    "token": Reply(body=TOKEN),
    "x": Reply(body='{"metadata": {"name": "x"}}'),
}
OURS = {"entra", "cluster", "kopf", "command"}

pytestmark = pytest.mark.promise("secret-only-to-allowed-hosts")


class OldAuthority:
    """An authority as OpenSSL made them with a bare configuration: no key identifier, neither its own nor in leaves."""

    def __init__(self, *, name: str = "127.0.0.1", valid: datetime.timedelta = DAY) -> None:
        self.name, self.valid = name, valid
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._certificate("kubernetes", self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.cert_pem = trustme.Blob(self.certificate.public_bytes(Encoding.PEM))

    def issue_cert(self, _: str) -> "OldAuthority":
        """Its leaf is for the name that it was made for."""
        return self

    def configure_cert(self, context: ssl.SSLContext) -> None:
        """A server's certificate into its context."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(self.name))])
        leaf = self._certificate("server", key, name)
        pem = leaf.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with trustme.Blob(pem).tempfile() as path:
            context.load_cert_chain(path)

    def _certificate(
        self, name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        authority = isinstance(extension, x509.BasicConstraints)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + (DAY if authority else self.valid))
            .add_extension(extension, critical=authority)
            .sign(self.key, hashes.SHA256())
        )


def probed(command: list[str], authority: OldAuthority, ca: Path) -> dict[str, str]:
    """Each client's result with a server of that authority."""
    with foreign(ANSWERS, ca=cast(trustme.CA, authority)) as server:
        done = subprocess.run([*command, server.base, str(ca)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return dict(found["outcomes"])


WRONG = {
    "another name": (OldAuthority(name="127.0.0.2"), None, "IP address mismatch"),
    "an end in the past": (OldAuthority(valid=-DAY), None, "certificate has expired"),
    "another authority": (OldAuthority(), OldAuthority(), "certificate"),
}


def check_old_authorities(command: list[str], directory: Path, *, inside: Path) -> None:
    """`directory` is where the command finds files, under the name `inside`."""

    def probe(authority: OldAuthority, trusted: OldAuthority) -> dict[str, str]:
        trusted.cert_pem.write_to_path(str(directory / "ca.pem"))
        return probed(command, authority, inside / "ca.pem")

    good = OldAuthority()
    found = probe(good, good)
    assert "Missing" in found.pop("python")  # the control: this Python does ask for key identifiers
    assert found == dict.fromkeys(OURS, "ok")
    for authority, trusted, words in WRONG.values():
        refused = probe(authority, trusted or authority)
        assert all(words in refused[client] for client in OURS), refused


def test_old_authorities_serve_where_the_flag_is_set(tmp_path: Path) -> None:
    check_old_authorities([sys.executable, str(PROBE), "--strict"], tmp_path, inside=tmp_path)


def test_the_other_python_is_the_images_own() -> None:
    dockerfile = Path(__file__).parents[2] / "operator" / "Dockerfile"
    assert f"/library/python:{VERSION}-slim" in dockerfile.read_text()


@pytest.mark.timeout(300)
def test_old_authorities_serve_on_the_images_own_python(other_python: OtherPython) -> None:
    with other_python.copy_of(PROBE) as directory:
        command = other_python.command(directory, PROBE.name)
        check_old_authorities(command, directory, inside=other_python.inside(directory))
