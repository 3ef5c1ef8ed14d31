"""Objects that a hostile user leaves in their namespace: each is told to them, and the neighbour notices none."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.controller_process import ControllerProcess
from support.hostile_keys import diffie_hellman, pem, rsa_key
from support.waiting import eventually

from hostile.scene import Scene, peak
from hostile.user import EVENTS, MAILERS, SECRETS, Manifest, secret
from o365mailer_contract import names

pytestmark = [pytest.mark.promise("neighbours-are-safe"), pytest.mark.timeout(300)]

LARGE = 60
PADDED = {"padding": "x" * 250_000}
"""Annotations of each of so many mailers. The API server takes 256 KiB; all at once would fill the controller."""


def refs(*names: str) -> Manifest:
    """A credential of client secrets."""
    return {"clientSecret": {"secretRefs": [{"name": name, "key": "secret"} for name in names]}}


def pair(name: str) -> Manifest:
    """A credential of a certificate."""
    return {"certificate": {"secretRef": {"name": name}}}


def own(name: str, data: Mapping[str, bytes], **more: Any) -> Manifest:
    """A token Secret as the controller labels its own."""
    labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.MAILER_LABEL: name}
    return secret(f"o365mailer.{name}", data, metadata={"labels": labels}, **more)


@dataclass(frozen=True)
class Case:
    """One mailer, and the Secrets with it."""

    reason: str
    """What the controller says of it."""
    spec: Manifest = field(default_factory=dict)
    secrets: tuple[Manifest, ...] = ()


def token_secret(name: str, reason: str, *, ours: bool = True, data: Mapping[str, bytes] = {}, **more: Any) -> Case:
    """A token Secret that is there before its mailer."""
    made = own(name, data, **more) if ours else secret(f"o365mailer.{name}", data, **more)
    return Case(reason, secrets=(made,))


NESTED = b'{"schema": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
CASES: dict[str, Case] = {
    "right-but-for-the-secret": Case("AADSTS7000215"),
    "secret-is-absent": Case("SecretNotFound", {"credential": refs("absent")}),
    "secret-of-1000-keys": Case(
        "SecretKeyMissing",
        {"credential": refs("keys")},
        (secret("keys", {f"k{number}": b"" for number in range(1_000)}),),
    ),
    "secret-of-a-megabyte": Case(
        "SecretKeyNotText", {"credential": refs("large")}, (secret("large", {"secret": b"x" * 1_000_000}),)
    ),
    "secret-with-a-line-break": Case(
        "SecretKeyNotText",
        {"credential": refs("lines")},
        (secret("lines", {"secret": b'one\ntwo\x1b[2J{"level": "error"}\x00'}),),
    ),
    "key-of-15-kb": Case(
        "CertificateInvalid",
        {"credential": pair("giant")},
        (secret("giant", {"tls.crt": b"x", "tls.key": rsa_key(2**9689 - 1, 2**9941 - 1)}),),
    ),
    "key-of-diffie-hellman": Case(
        "CertificateInvalid",
        {"credential": pair("dh")},
        (secret("dh", {"tls.crt": b"x", "tls.key": pem("PRIVATE KEY", diffie_hellman(9689))}),),
    ),
    "authorities-of-a-megabyte": Case(
        "CABundleInvalid",
        {"submission": {"host": "127.0.0.1", "port": 25, "ca": {"secretRef": {"name": "bundle"}}}},
        (secret("bundle", {"ca.crt": b"-----BEGIN CERTIFICATE-----\n" * 35_000}),),
    ),
    "token-secret-of-another": token_secret("token-secret-of-another", "SecretNameTaken", ours=False),
    "token-secret-immutable": token_secret("token-secret-immutable", "AADSTS7000215", immutable=True),
    "token-secret-of-another-type": token_secret(
        "token-secret-of-another-type",
        "AADSTS7000215",
        data={"tls.crt": b"", "tls.key": b""},
        type="kubernetes.io/tls",
    ),
    "token-secret-full": token_secret(
        "token-secret-full", "AADSTS7000215", data={f"k{number}": b"" for number in range(1_000)}
    ),
    "token-secret-nested": token_secret("token-secret-nested", "AADSTS7000215", data={"mailer.json": NESTED}),
    "token-secret-huge": token_secret(
        "token-secret-huge", "AADSTS7000215", data={"mailer.json": b"{}", "access_token": b"t" * 900_000}
    ),
    "another-host": Case("HostNotAllowed", {"authority": {"url": "https://login.microsoftonline.com.evil.example"}}),
    "another-port": Case("HostNotAllowed", {"authority": {"url": "https://login.microsoftonline.com:444"}}),
    "service-of-the-cluster": Case(
        "HostNotAllowed", {"submission": {"host": "kubernetes.default.svc.cluster.local", "port": 443}}
    ),
    "metadata-service": Case("HostNotAllowed", {"submission": {"host": "169.254.169.254", "port": 80}}),
    "nobody-listens": Case("EntraUnreachable", {"authority": {"url": "https://127.0.0.1:1"}}),
    "n" * 40: Case("AADSTS7000215"),
}


@pytest.fixture(scope="module")
def left(scene: Scene) -> Iterator[Scene]:
    """All of it is there."""
    hostile = scene.hostile
    hostile.clear()
    hostile.credentials(value="wrong")
    for name, case in CASES.items():
        hostile.user.create(hostile.path(SECRETS), *case.secrets)
        hostile.user.create(hostile.path(MAILERS), hostile.mailer(name, finalizers=("evil.example/stay",), **case.spec))

    def make(number: int) -> None:
        hostile.user.create(
            hostile.path(MAILERS), hostile.mailer(f"large-{number}", credential=refs("absent"), annotations=PADDED)
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(LARGE)))
    yield scene
    hostile.user.request("DELETE", hostile.path(MAILERS))
    for name in CASES:
        hostile.user.change(hostile.path(MAILERS, name), {"metadata": {"finalizers": None}})


def test_each_is_told_to_its_author(left: Scene) -> None:
    told = left.hostile.has_reason
    eventually(lambda: told(f"large-{LARGE - 1}", "SecretNotFound"), "the last is seen", within=120)
    missing = {name for name, case in CASES.items() if not told(name, case.reason)}
    eventually(lambda: not {name for name in missing if not told(name, CASES[name].reason)}, str(missing), within=120)


def test_the_neighbour_notices_nothing(left: Scene) -> None:
    left.neighbour.works()
    left.unharmed()
    assert left.grown() < 64 << 20


def test_no_secret_of_the_neighbour_can_be_read(left: Scene) -> None:
    """Neither in what the controller writes for the hostile user, nor in the logs."""
    hostile = left.hostile
    texts = ["".join(left.controller.errors), "".join(left.webhook.errors)]
    for collection in (SECRETS, MAILERS, EVENTS):
        status, document = hostile.user.request("GET", hostile.path(collection))
        assert status == 200
        texts.append(json.dumps(document))
    for value in left.neighbour.secrets():
        for form in (value.decode(), base64.b64encode(value).decode()):
            assert not any(form in text for text in texts)


def test_a_controller_that_starts_beside_them_has_no_more_memory(
    left: Scene, start_controller: Callable[[], ControllerProcess]
) -> None:
    started = start_controller()
    started.wait_until_leading()
    eventually(lambda: started.http("/readyz")[0] == 200, "the watch agrees with a LIST", within=60)
    assert peak(started) - left.before < 64 << 20
