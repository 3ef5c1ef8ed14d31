"""`o365mailer check -f`: each fault of the first day is made for real, and the check names it.

The findings are read as JSON, as a script would. What a person reads is in test_check_output.py.
"""

import contextlib
import datetime
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from cli.conftest import Files
from support.certificate_pair import certificate_pair
from support.emulator_client import EmulatorClient
from support.faulty_host import dropping, refusing

from o365mailer_cli.check import links
from o365mailer_cli.main import main
from o365mailer_operator.exchange import login

Findings = list[dict[str, str]]
Check = Callable[..., Findings]
OTHER = "55555555-5555-4555-8555-555555555555"


@pytest.fixture
def check(files: Files, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the command on the mailer's file and returns its findings. `status` is the exit status that is expected."""

    def checked(*more: str, status: int = 0, environment: Mapping[str, str] | None = None) -> Findings:
        arguments = ["check", "-f", str(files.mailer), "--secrets-dir", str(files.secrets), "-o", "json", *more]
        found = main(arguments, environment or {})
        document = json.loads(capsys.readouterr().out)
        findings = [finding for group in document["groups"] for finding in group["findings"]]
        assert found == status, json.dumps(findings, indent=1)
        return findings

    return checked


def failed(findings: Findings) -> dict[str, str]:
    """The one finding that has failed. It has a cause, a remedy and a link."""
    (only,) = [each for each in findings if each["status"] == "failed"]
    assert only["cause"]
    assert only["remedy"]
    assert "/docs/troubleshooting.md#" in only["link"]
    return only


def named(findings: Findings, name: str) -> dict[str, str]:
    (only,) = [each for each in findings if each["name"] == name]
    return only


@pytest.mark.promise("check-names-the-fault")
def test_all_is_well(check: Check, emulator: EmulatorClient) -> None:
    findings = check()
    assert [(each["name"], each["status"]) for each in findings] == [
        ("login.mailer", "ok"),
        ("entra.https", "ok"),
        ("clock", "ok"),
        ("smtp.connect", "ok"),
        ("smtp.tls", "ok"),
        ("token.issued", "ok"),
        ("login", "ok"),
        ("login.message", "unknown"),
    ]
    token = named(findings, "token.issued")["title"]
    assert f"appid {emulator.client_id}, tid {emulator.tenant}, roles SMTP.SendAsApp" in token
    assert emulator.counters()["messages"] == 0


@pytest.mark.promise("check-names-the-fault")
def test_no_roles_are_right_with_the_role_in_exchange(check: Check, emulator: EmulatorClient) -> None:
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"roles": []})
    emulator.control("PATCH", f"/mailboxes/{emulator.mailbox}", {"applications": [emulator.client_id]})
    findings = check()
    assert "roles none, which is right with Application SMTP.SendAsApp" in named(findings, "token.issued")["title"]
    assert named(findings, "login")["status"] == "ok"


def test_more_rights_than_mail_needs_are_a_warning(check: Check, emulator: EmulatorClient) -> None:
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"roles": ["SMTP.SendAsApp", "Mail.Send"]})
    roles = named(check(), "token.roles")
    assert (roles["status"], roles["title"]) == ("warning", "the token has more rights than mail needs: Mail.Send")


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize(
    ("kind", "members", "words"),
    [
        ("tenants", {"smtpAuth": False}, "SMTP AUTH is off for the tenant"),
        ("mailboxes", {"smtpAuth": False}, "SMTP AUTH is off for the mailbox"),
        ("tenants", {"policy": "security-defaults"}, "A policy of the tenant blocks the login"),
        ("tenants", {"policy": "conditional-access"}, "A policy of the tenant blocks the login"),
    ],
)
def test_exchange_says_what_is_off(
    check: Check, emulator: EmulatorClient, kind: str, members: dict[str, Any], words: str
) -> None:
    change(emulator, kind, members)
    login = failed(check(status=1))
    assert login["name"] == "login"
    assert words in login["cause"]
    switch = f"Set-CASMailbox -Identity {emulator.mailbox} -SmtpClientAuthenticationDisabled $false"
    assert (switch in login["remedy"]) == ("smtpAuth" in members)


def change(emulator: EmulatorClient, kind: str, members: dict[str, Any]) -> None:
    names = {"tenants": emulator.tenant, "applications": emulator.client_id, "mailboxes": emulator.mailbox}
    emulator.control("PATCH", f"/{kind}/{names[kind]}", members)


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize(
    ("kind", "members", "number", "cause"),
    [
        ("applications", {"servicePrincipal": None}, 1, "Exchange has no service principal"),
        ("applications", {"servicePrincipal": OTHER}, 2, "has the object id of the app registration"),
        ("mailboxes", {"applications": []}, 3, "has no right on the mailbox"),
    ],
)
def test_one_reply_has_several_causes_each_with_its_commands(
    check: Check, emulator: EmulatorClient, kind: str, members: dict[str, Any], number: int, cause: str
) -> None:
    """Exchange answers all of these with 535 5.7.3. The object id in the commands is from the token."""
    change(emulator, kind, members)
    login = failed(check(status=1))
    assert "535 5.7.3 Authentication unsuccessful" in login["title"]
    assert f"{number}. " in login["cause"]
    assert cause in login["cause"].splitlines()[number]
    assert "Exchange does not say which" in login["cause"]
    assert (
        f"New-ServicePrincipal -AppId {emulator.client_id} -ObjectId 33333333-3333-4333-8333-333333333333"
        in (login["remedy"])
    )
    assert f"Get-ServicePrincipal -Identity {emulator.client_id}" in login["remedy"]


@pytest.mark.promise("check-names-the-fault")
def test_a_right_that_still_spreads_is_among_the_causes_with_its_clock(check: Check, emulator: EmulatorClient) -> None:
    change(emulator, "mailboxes", {"applications": []})
    emulator.settings(effectiveAfter=7200)
    change(emulator, "mailboxes", {"applications": [emulator.client_id]})
    login = failed(check(status=1))
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    minutes = {f"{since - datetime.timedelta(minutes=late):%H:%M}" for late in (0, 1)}
    assert any(f"what was changed after {minute} UTC may not be in force yet" in login["cause"] for minute in minutes)
    assert "still spreads" in login["cause"]
    assert (
        f"Test-ServicePrincipalAuthorization -Identity {emulator.client_id} -Resource {emulator.mailbox}"
        in (login["remedy"])
    )


@pytest.mark.promise("check-says-what-it-cannot-know")
@pytest.mark.parametrize(
    ("settings", "mailbox", "spec"),
    [
        ({"noRight": "body"}, {"applications": []}, {}),
        ({}, {"locked": "throttled-send-as"}, {}),
        ({}, {}, {"senders": {"allowed": ["billing@contoso.com"]}}),
    ],
)
def test_what_only_a_message_tells_is_said_to_be_unknown(
    check: Check,
    files: Files,
    emulator: EmulatorClient,
    settings: dict[str, Any],
    mailbox: dict[str, Any],
    spec: dict[str, Any],
) -> None:
    """A right whose lack comes after the data, a lock, a sender that Exchange refuses: the login works in each case."""
    emulator.settings(**settings)
    change(emulator, "mailboxes", mailbox)
    files.write(**spec)
    findings = check()
    assert named(findings, "login")["status"] == "ok"
    unknown = named(findings, "login.message")
    assert unknown["status"] == "unknown"
    assert "430" in unknown["cause"]
    assert "554 5.2.252" in unknown["cause"]


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize(
    ("spec", "code", "remedy"),
    [
        ({"tenantId": "99999999-9999-4999-8999-999999999999"}, "AADSTS90002", "spec.tenantId"),
        ({"clientId": "99999999-9999-4999-8999-999999999999"}, "AADSTS700016", "spec.clientId"),
    ],
)
def test_a_wrong_tenant_or_application(
    check: Check, files: Files, spec: dict[str, Any], code: str, remedy: str
) -> None:
    files.write(**spec)
    token = failed(check(status=1))
    assert (token["name"], code in token["title"], remedy in token["remedy"]) == ("token.issued", True, True)
    assert token["link"].endswith(f"#{code.lower()}")
    assert code in token["cause"]
    assert "correlation id" in token["cause"]


@pytest.mark.promise("check-names-the-fault")
def test_the_wrong_cloud(check: Check, emulator: EmulatorClient) -> None:
    change(emulator, "tenants", {"otherCloud": True})
    token = failed(check(status=1))
    assert "AADSTS90038" in token["title"]
    assert token["remedy"] == "Set spec.cloud to the cloud of this tenant."


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ("another-text-that-is-no-secret", "AADSTS7000215", "the client secret is not valid"),
        (OTHER, "AADSTS7000215", "it is a GUID, as the ID of a secret is; the Value is no GUID"),
    ],
)
def test_a_wrong_secret_or_its_id(check: Check, files: Files, value: str, code: str, words: str) -> None:
    files.secret("noreply", "secret", value)
    token = failed(check(status=1))
    assert code in token["title"]
    assert words in token["cause"]
    assert "its Value, not its ID" in token["remedy"]
    assert value not in json.dumps(token)


@pytest.mark.promise("check-names-the-fault")
def test_an_expired_secret(check: Check, emulator: EmulatorClient) -> None:
    expired = {"value": emulator.client_secret, "expiresAt": "2026-01-01T00:00:00Z"}
    change(emulator, "applications", {"secrets": [expired]})
    assert "AADSTS7000222" in failed(check(status=1))["title"]


def test_of_two_secrets_each_is_tried(check: Check, files: Files) -> None:
    files.secret("old", "secret", "another-text-that-is-no-secret")
    refs = [{"name": "old", "key": "secret"}, {"name": "noreply", "key": "secret"}]
    files.write(credential={"clientSecret": {"secretRefs": refs}})
    findings = check()
    assert [each["status"] for each in findings if each["name"] == "token.issued"] == ["warning", "ok"]
    assert named(findings, "login")["status"] == "ok"


@pytest.mark.promise("check-names-the-fault")
def test_a_missing_secret_is_told_with_its_place(check: Check, files: Files) -> None:
    (files.secrets / "noreply" / "secret").unlink()
    (files.secrets / "noreply").rmdir()
    findings = check(status=1)
    credential = failed(findings)
    assert "SecretNotFound" in credential["title"]
    assert f"Here that is the file {files.secrets}/noreply/secret." in credential["remedy"]
    assert named(findings, "smtp.tls")["status"] == "ok"  # the hosts are looked at all the same


@pytest.fixture
def with_certificate(files: Files, emulator: EmulatorClient) -> Callable[[datetime.timedelta], str]:
    """Gives the mailer a certificate that ends after so long, as its credential. Returns its PEM text."""

    def made(ends: datetime.timedelta) -> str:
        certificate, key = certificate_pair(ends)
        files.secret("noreply-tls", "tls.crt", certificate)
        files.secret("noreply-tls", "tls.key", key)
        files.write(credential={"certificate": {"secretRef": {"name": "noreply-tls"}}})
        return certificate

    return made


@pytest.mark.promise("check-names-the-fault")
def test_a_certificate_that_is_not_registered(
    check: Check, emulator: EmulatorClient, with_certificate: Callable[[datetime.timedelta], str]
) -> None:
    certificate = with_certificate(datetime.timedelta(days=90))
    token = failed(check(status=1))
    assert "AADSTS700027" in token["title"]
    assert "Upload tls.crt to the app registration" in token["remedy"]
    change(emulator, "applications", {"certificates": [certificate]})
    assert named(check(), "login")["status"] == "ok"


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize(
    ("days", "status", "words"),
    [
        (90, "ok", "is valid for 89 days"),
        (20, "warning", "Plan its renewal"),
        (6, "warning", "Renew it this week"),
        (0.5, "warning", "Renew it now"),
    ],
)
@pytest.mark.parametrize("kind", ["certificate", "secret"])
def test_a_credential_near_its_end(
    check: Check,
    files: Files,
    emulator: EmulatorClient,
    with_certificate: Callable[[datetime.timedelta], str],
    kind: str,
    days: float,
    status: str,
    words: str,
) -> None:
    left = datetime.timedelta(days=days)
    if kind == "certificate":
        change(emulator, "applications", {"certificates": [with_certificate(left)]})
    else:
        ends = datetime.datetime.now(datetime.UTC) + left
        refs = [{"name": "noreply", "key": "secret"}]
        files.write(credential={"clientSecret": {"secretRefs": refs, "expiresAt": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}})
    end = named(check(), "credential.end")
    assert end["status"] == status
    assert words in end["title"] + end["remedy"]


def test_a_certificate_that_has_ended(check: Check, with_certificate: Callable[[datetime.timedelta], str]) -> None:
    with_certificate(datetime.timedelta(days=-1))
    findings = check(status=1)
    assert named(findings, "credential.end")["status"] == "failed"
    assert "CertificateExpired" in named(findings, "token.issued")["title"]


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize(
    ("offset", "status", "words"),
    [(200, "warning", "slower than"), (-200, "warning", "ahead of"), (-400, "failed", "ahead of")],
)
def test_a_clock_that_is_wrong(check: Check, emulator: EmulatorClient, offset: int, status: str, words: str) -> None:
    emulator.settings(clockOffset=offset)
    clock = named(check(status=int(status == "failed")), "clock")
    assert clock["status"] == status
    assert words in clock["title"]
    assert "timedatectl" in clock["remedy"]


def submission(emulator: EmulatorClient, **members: Any) -> dict[str, Any]:
    whole = {
        "host": emulator.smtp_host,
        "port": emulator.smtp_port,
        "ca": {"secretRef": {"name": "emulator"}},
        **members,
    }
    return {"submission": {name: value for name, value in whole.items() if value is not None}}


@pytest.mark.promise("check-names-the-fault")
def test_port_587_is_refused(check: Check, files: Files, emulator: EmulatorClient) -> None:
    with refusing() as port:
        files.write(**submission(emulator, port=port))
        findings = check(status=1)
    connect = failed(findings)
    assert (connect["name"], "connection-refused" in connect["title"]) == ("smtp.connect", True)
    assert f"Allow outgoing TCP to 127.0.0.1:{port}" in connect["remedy"]
    assert "SMTP does not go through an HTTP proxy" in connect["remedy"]
    assert named(findings, "login")["status"] == "unknown"
    assert named(findings, "token.issued")["status"] == "ok"


@pytest.mark.promise("check-names-the-fault")
def test_port_587_is_dropped(
    check: Check, files: Files, emulator: EmulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "ADDRESS_LIMIT", 0.5)
    with dropping() as port:
        files.write(**submission(emulator, port=port))
        connect = failed(check(status=1))
    assert "are dropped on the way" in connect["cause"]


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize("which", ["submission", "authority"])
def test_dns_does_not_know_the_host(check: Check, files: Files, emulator: EmulatorClient, which: str) -> None:
    if which == "submission":
        files.write(**submission(emulator, host="smtp.invalid"))
        finding = failed(check(status=1))
        assert finding["name"] == "smtp.dns"
        assert "smtp.invalid" in finding["cause"]
    else:
        files.write(authority={"url": "https://login.invalid"})
        finding = failed(check(status=1))
        assert (finding["name"], "EntraUnreachable" in finding["title"]) == ("entra.https", True)


@pytest.mark.parametrize("host", ["office365.mail.svc.cluster.local", "office365.mail.svc", "office365"])
def test_a_service_of_a_cluster_is_unknown_from_outside(check: Check, files: Files, host: str) -> None:
    """As the emulator's in a cluster: that this machine does not reach it is no fault."""
    files.write(authority={"url": f"https://{host}"}, submission={"host": host})
    findings = check()
    for name in ("entra.https", "smtp.dns"):
        assert named(findings, name)["status"] == "unknown"
        assert "It is a Service of a cluster" in named(findings, name)["cause"]
    assert named(findings, "login")["status"] == "unknown"


@pytest.mark.promise("check-names-the-fault")
@pytest.mark.parametrize("which", ["submission", "authority"])
def test_tls_is_inspected(check: Check, files: Files, emulator: EmulatorClient, which: str) -> None:
    if which == "submission":
        files.write(**submission(emulator, ca=None))
        name, member = "smtp.tls", "spec.submission.ca"
    else:
        files.write(authority={"url": emulator.authority})
        name, member = "entra.https", "spec.authority.ca"
    finding = failed(check(status=1))
    assert finding["name"] == name
    assert "signed by O365 Mailer emulator CA" in finding["cause"]
    assert member in finding["remedy"]


def test_an_inspected_connection_that_this_machine_trusts_is_a_warning(
    check: Check, files: Files, emulator: EmulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a laptop whose store has the company's authority. The relay in a pod would not trust it."""
    monkeypatch.setenv("SSL_CERT_FILE", emulator.ca_file)  # OpenSSL's own store for this process
    files.write(**submission(emulator, ca=None))
    tls = named(check(), "smtp.tls")
    assert tls["status"] == "warning"
    assert "O365 Mailer emulator CA is no public authority" in tls["title"]


def test_the_wrong_named_authority_is_no_inspection(check: Check, files: Files, emulator: EmulatorClient) -> None:
    files.secret("other", "ca.crt", trustme.CA().cert_pem.bytes().decode())
    files.write(**submission(emulator, ca={"secretRef": {"name": "other"}}))
    tls = failed(check(status=1))
    assert "spec.submission.ca names other authorities alone" in tls["cause"]


class Proxy:
    """An HTTP proxy: it answers CONNECT with one reply, and forwards bytes after a 200."""

    def __init__(self, reply: str) -> None:
        self.reply, self.asked = reply, list[str]()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        # A client that has gone is no fault, least of all of the test that runs when this thread learns of it.
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (part := client.recv(4096)):
                    return
                head += part
            target = head.split()[1].decode()
            self.asked.append(target)
            client.sendall(f"HTTP/1.1 {self.reply}\r\n\r\n".encode())
            if not self.reply.startswith("200"):
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as upstream:
                one = threading.Thread(target=forward, args=(client, upstream), daemon=True)
                one.start()
                forward(upstream, client)
                one.join(5)


def forward(source: socket.socket, sink: socket.socket) -> None:
    try:
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    started: list[Proxy] = []

    def start(reply: str) -> Proxy:
        started.append(Proxy(reply))
        return started[-1]

    yield start
    for each in started:
        each.listening.shutdown(socket.SHUT_RDWR)  # `close` alone leaves the thread in accept(2), and the port open
        each.listening.close()


@pytest.mark.promise("check-names-the-fault")
def test_a_proxy_in_between(check: Check, emulator: EmulatorClient, proxy: Callable[[str], Proxy]) -> None:
    works = proxy("200 OK")
    findings = check("--https-proxy", works.url)
    assert named(findings, "entra.https")["title"].endswith("answers over HTTPS through the proxy")
    assert named(findings, "login")["status"] == "ok"
    assert set(works.asked) == {emulator.authority.removeprefix("https://")}
    refuses = proxy("407 Proxy Authentication Required")
    https = failed(check(environment={"O365MAILER_HTTPS_PROXY": refuses.url}, status=1))
    assert "The HTTPS proxy did not lead to" in https["cause"]


def test_a_proxy_of_the_environment_is_not_used_and_said_to_be(check: Check, files: Files) -> None:
    with refusing() as port:
        files.write(authority={"url": f"https://127.0.0.1:{port}", "ca": {"secretRef": {"name": "emulator"}}})
        https = failed(check(environment={"HTTPS_PROXY": "http://proxy.example.com:3128"}, status=1))
    assert "HTTPS_PROXY is set here, and it is not used" in https["remedy"]


@pytest.mark.parametrize("reply", ["concurrent", "server-busy"])
def test_a_busy_exchange_proves_nothing(check: Check, emulator: EmulatorClient, reply: str) -> None:
    emulator.script("auth", named=reply)
    login = named(check(), "login")
    assert (login["status"], "is unknown" in login["title"]) == ("unknown", True)


@pytest.mark.promise("check-shows-no-secret")
def test_neither_token_nor_secret_is_shown(
    files: Files, emulator: EmulatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", "-f", str(files.mailer), "--secrets-dir", str(files.secrets)]
    for more in ([], ["-o", "json"]):
        main([*arguments, *more], {})
        shown = capsys.readouterr()
        assert emulator.mailbox in shown.out
        for hidden in (emulator.client_secret, "eyJ"):
            assert hidden not in shown.out + shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-n", "shop"], "-n has no meaning with it"),
        (["-A"], "-A has no meaning with it"),
        (["--context", "x"], "--context has no meaning with it"),
    ],
)
def test_a_file_is_not_in_a_cluster(
    files: Files, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["check", "-f", str(files.mailer), *arguments], {}) == 2
    assert words in capsys.readouterr().err


def test_a_document_that_is_none_ends_it_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mailer.yaml"
    file.write_text("kind: Deployment\n")
    assert main(["check", "-f", str(file)], {}) == 2
    assert "expected o365mailer.dev/v1alpha1" in capsys.readouterr().err


def test_every_link_leads_to_a_section() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    named_here = [value for name, value in vars(links).items() if name.isupper() and "#" in str(value)]
    assert len(named_here) > 10
    missing = [link for link in named_here if "troubleshooting" in link and link.partition("#")[2] not in anchors]
    assert missing == []


def test_what_a_person_reads(files: Files, emulator: EmulatorClient, capsys: pytest.CaptureFixture[str]) -> None:
    change(emulator, "applications", {"servicePrincipal": None})
    assert main(["check", "-f", str(files.mailer), "--secrets-dir", str(files.secrets)], {}) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "✓ noreply: its document is valid" in lines
    (begin,) = [number for number, line in enumerate(lines) if line.startswith("✗ noreply: Exchange refuses the login")]
    assert lines[begin + 1].startswith("    cause:  Exchange does not say which of these it is.")
    assert lines[begin + 2] == "            1. Exchange has no service principal for the application."
    assert "    remedy: In Exchange Online PowerShell, in this order:" in lines
    assert lines[-1] == "6 ✓, 0 !, 1 ✗, 0 ?"


def test_ctrl_c_ends_it_at_once(files: Files, emulator: EmulatorClient) -> None:
    emulator.script("auth", stall=True)
    command = [sys.executable, "-m", "o365mailer_cli.main", "check", "-f", str(files.mailer)]
    with subprocess.Popen(
        [*command, "--secrets-dir", str(files.secrets)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        emulator.events("stalled", wait=30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
