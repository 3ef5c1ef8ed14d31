"""What a person is told of a failed login: the cause, and the commands with the mailer's own ids."""

import datetime

import pytest

from o365mailer_contract.replies import RULES, Outcome
from o365mailer_operator.exchange.causes import Application, causes_of, quoted
from o365mailer_operator.exchange.certificate import Peer
from o365mailer_operator.exchange.result import Fault, LoginResult, Reply, Stage

CLIENT, OBJECT, MAILBOX = (
    "22222222-2222-2222-2222-222222222222",
    "33333333-3333-4333-8333-333333333333",
    "a@contoso.com",
)
APPLICATION = Application(client_id=CLIENT, mailbox=MAILBOX, object_id=OBJECT)
PEER = Peer(
    issuer="Proxy CA 2",
    authority="Contoso Root",
    public=False,
    not_after=datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC),
    protocol="TLSv1.3",
)


def refused(reply: str, *, stage: Stage = Stage.AUTH) -> LoginResult:
    code, _, text = reply.partition(" ")
    return LoginResult(host="smtp.office365.com", port=587, stage=stage, reply=Reply.of(int(code), text))


def failed(fault: Fault, stage: Stage, **members: object) -> LoginResult:
    return LoginResult(host="smtp.office365.com", port=587, stage=stage, fault=fault, **members)  # type: ignore[arg-type]


def test_unsuccessful_authentication_has_several_causes_each_with_its_sign_and_commands() -> None:
    causes = causes_of(refused("535 5.7.3 Authentication unsuccessful [HOST]"), APPLICATION)
    assert [cause.text.split(".")[0] for cause in causes] == [
        "Exchange has no service principal for the application",
        "The service principal in Exchange has the object id of the app registration",
        "The application has no right on the mailbox, or the mailbox is outside the scope of its role",
        "The right is there and still spreads: Exchange takes up to 2 hours after each change",
        "SMTP AUTH is off for the mailbox, or it is no mailbox of this tenant",
    ]
    assert all(cause.sign for cause in causes)
    create = f"New-ServicePrincipal -AppId {CLIENT} -ObjectId {OBJECT} -DisplayName o365mailer"
    assert causes[0].remedy == create
    assert causes[1].remedy == f"Remove-ServicePrincipal -Identity {CLIENT}\n{create}"
    assert f"-App {CLIENT} -CustomResourceScope o365mailer" in causes[2].remedy
    assert f"Test-ServicePrincipalAuthorization -Identity {CLIENT} -Resource {MAILBOX}" in causes[3].sign
    assert causes[4].remedy == f"Set-CASMailbox -Identity {MAILBOX} -SmtpClientAuthenticationDisabled $false"


def test_a_token_with_the_entra_permission_needs_a_right_on_the_mailbox() -> None:
    classic = Application(client_id=CLIENT, mailbox=MAILBOX, object_id=OBJECT, roles=frozenset({"SMTP.SendAsApp"}))
    right = causes_of(refused("535 5.7.3 Authentication unsuccessful"), classic)[2]
    assert f"Add-MailboxPermission -Identity {MAILBOX} -User {OBJECT} -AccessRights FullAccess" in right.remedy


@pytest.mark.parametrize(
    ("reply", "cause", "remedy"),
    [
        (
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit",
            "SMTP AUTH is off for the tenant, and the mailbox has no switch of its own.",
            f"Set-CASMailbox -Identity {MAILBOX} -SmtpClientAuthenticationDisabled $false",
        ),
        (
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit",
            "SMTP AUTH is off for the mailbox.",
            f"Set-CASMailbox -Identity {MAILBOX} -SmtpClientAuthenticationDisabled $false",
        ),
        (
            "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
            "A policy of the tenant blocks the login",
            "Entra's sign-in logs",
        ),
        ("550 5.7.240 The application is not allowed", "High Volume Email", f"-AppIds {CLIENT}"),
        ("432 4.3.2 Concurrent connections limit exceeded.", "in use", "Try again"),
        ("451 4.7.500 Server busy.", "Exchange answered 451 4.7.500 Server busy.", "Try again in some minutes."),
        ("535 5.7.144 Invalid API permissions", "Exchange answered 535 5.7.144", "Give the app SMTP.SendAsApp."),
    ],
)
def test_a_reply_that_is_clear_has_one_cause(reply: str, cause: str, remedy: str) -> None:
    (only,) = causes_of(refused(reply), APPLICATION)
    assert cause in only.text
    assert remedy in only.remedy
    assert only.sign == ""


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("private", [False, True])
def test_every_fault_has_a_cause_and_a_remedy(fault: Fault, private: bool) -> None:
    stage = Stage.DNS if fault in {Fault.UNKNOWN_HOST, Fault.DNS_SILENT} else Stage.CONNECT
    (cause,) = causes_of(failed(fault, stage, peer=PEER, private=private), APPLICATION)
    assert "smtp.office365.com" in cause.text
    assert cause.text.endswith(".")
    assert cause.remedy


def test_an_inspected_connection_names_the_authority() -> None:
    (cause,) = causes_of(failed(Fault.UNTRUSTED, Stage.TLS, peer=PEER), APPLICATION)
    assert cause.text == (
        "The certificate of smtp.office365.com:587 is signed by Contoso Root (through Proxy CA 2), which is no public "
        "authority: something on the way inspects TLS."
    )
    assert "spec.submission.ca" in cause.remedy


def test_a_named_authority_that_is_the_wrong_one_is_told_apart() -> None:
    (cause,) = causes_of(failed(Fault.UNTRUSTED, Stage.TLS, peer=PEER, private=True), APPLICATION)
    assert "spec.submission.ca names other authorities alone" in cause.text
    assert "inspects" not in cause.text


def test_a_login_that_worked_has_no_cause() -> None:
    assert causes_of(LoginResult(host="h", port=587, stage=Stage.DONE), APPLICATION) == ()


def test_every_rule_that_a_person_has_to_act_on_has_a_remedy() -> None:
    for rule in RULES:
        if rule.outcome is Outcome.UNAUTHORIZED and rule.code == 535:
            text = "535 " + (rule.enhanced.replace("\\", "").replace("[23]", "2") or "5.7.3") + " " + rule.text
            assert all(cause.remedy for cause in causes_of(refused(text), APPLICATION))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (MAILBOX, MAILBOX),
        ("o'neill@contoso.com", "'o''neill@contoso.com'"),
        ("o\u2019neill@contoso.com", "'o\u2019\u2019neill@contoso.com'"),
        ("a$(rm)@contoso.com", "'a$(rm)@contoso.com'"),
        ("-x@contoso.com", "'-x@contoso.com'"),
        ("@list", "'@list'"),
    ],
)
def test_values_are_quoted_for_powershell(value: str, shown: str) -> None:
    """PowerShell takes the curly quotes for straight ones (about_Quoting_Rules)."""
    assert quoted(value) == shown


@pytest.mark.parametrize(
    ("mailbox", "shown"),
    [
        ("a@contoso.com", "\"PrimarySmtpAddress -eq 'a@contoso.com'\""),
        ("o'neill$x@contoso.com", "'PrimarySmtpAddress -eq ''o''''neill$x@contoso.com'''"),
        ('a";calc;"@contoso.com', "'PrimarySmtpAddress -eq ''a\";calc;\"@contoso.com'''"),
        ("a\u201d;calc;@contoso.com", "'PrimarySmtpAddress -eq ''a\u201d;calc;@contoso.com'''"),
    ],
)
def test_no_mailbox_is_code_in_the_scope(mailbox: str, shown: str) -> None:
    """The author of a mailer is another person than the administrator who pastes the remedy into PowerShell."""
    odd = Application(client_id=CLIENT, mailbox=mailbox, object_id=OBJECT)
    remedy = causes_of(refused("535 5.7.3 Authentication unsuccessful"), odd)[2].remedy
    assert f"-RecipientRestrictionFilter {shown}\n" in remedy


@pytest.mark.parametrize(
    ("message", "enhanced", "shown"),
    [
        ("5.7.3 no", "5.7.3", "535 5.7.3 no"),
        ("5.7.3 one\n5.7.3 two", "5.7.3", "535 5.7.3 one two"),
        ("no code", "", "535 no code"),
        ("5.2.0 x [BeginDiagnosticData] a@contoso.com", "5.2.0", "535 5.2.0 x"),
        ("5.7.3 " + "x" * 900, "5.7.3", "535 5.7.3 " + "x" * 200 + "…"),
        ("5.7.3 \x1b[31mred", "5.7.3", "535 5.7.3 [31mred"),
    ],
)
def test_a_reply_is_shown_in_one_short_line(message: str, enhanced: str, shown: str) -> None:
    reply = Reply.of(535, message)
    assert (reply.enhanced, str(reply)) == (enhanced, shown)
