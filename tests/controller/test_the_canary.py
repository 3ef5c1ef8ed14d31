"""When a login at Exchange is tried, and what the status says of it: in a simulated time, from the status alone."""

import base64
import dataclasses
import datetime
import itertools
import json
from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_operator.controller import canary, conditions
from o365mailer_operator.controller.canary import LoginAim, Seen, Tried
from o365mailer_operator.controller.mailer import Condition, Key, Login, Status, encode_status
from o365mailer_operator.exchange.result import Fault, LoginResult, Reply, Stage

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)
HOUR = 60 * MINUTE
CLIENT, OBJECT = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"


def token(**claims: object) -> str:
    """A JWT without a signature."""
    body = base64.urlsafe_b64encode(json.dumps({"oid": OBJECT, **claims}).encode()).rstrip(b"=").decode()
    return f"e30.{body}.x"


def aim(
    *, mailbox: str = "noreply@contoso.com", issued_at: datetime.datetime = NOON, life: datetime.timedelta = HOUR
) -> LoginAim:
    """What the token Secret holds."""
    return LoginAim(
        mailbox=mailbox,
        host="smtp.office365.com",
        port=587,
        authorities=None,
        token=token(),
        expires_at=issued_at + life,
        issued_at=issued_at,
        identity="identity",
    )


def replied(text: str, stage: Stage = Stage.AUTH) -> LoginResult:
    """An attempt that a reply ended."""
    code, _, rest = text.partition(" ")
    return LoginResult(host="smtp.office365.com", port=587, stage=stage, reply=Reply.of(int(code), rest))


def failed(fault: Fault, stage: Stage = Stage.CONNECT) -> LoginResult:
    """An attempt that did not come to a reply."""
    return LoginResult(host="smtp.office365.com", port=587, stage=stage, fault=fault)


ACCEPTED = LoginResult(host="smtp.office365.com", port=587, stage=Stage.DONE)
REFUSED = replied("535 5.7.3 Authentication unsuccessful [HOST 2026-11-23T12:00:00.000Z 08DE]")
BUSY = replied("432 4.3.2 Concurrent connections limit exceeded.")
SHUT = failed(Fault.SILENT)


@dataclasses.dataclass
class Play:
    """One mailer over hours. All it remembers is its status; the token is always valid."""

    exchange: Callable[[datetime.timedelta], LoginResult]
    """What a login brings, so long after the beginning."""
    uid: str = "u-1"
    mailbox: str = "noreply@contoso.com"
    status: Status = dataclasses.field(default_factory=Status)
    now: datetime.datetime = NOON
    attempts: list[datetime.timedelta] = dataclasses.field(default_factory=list)
    writes: int = 0

    def look(self, *, again: bool = False) -> None:
        """One reconcile, and the login if it is due."""
        self._write(self._seen(again=again))
        if canary.due(self.status.login, self._aim(), now=self.now):
            passed = self.now - NOON
            self.attempts.append(passed)
            self._write(self._seen(tried=Tried(self._aim(), self.now, self.exchange(passed))))

    def until(self, hours: float, *, step: datetime.timedelta = MINUTE) -> None:
        """Reconciles each minute."""
        while self.now - NOON < hours * HOUR:
            self.look()
            self.now += step

    @property
    def authenticated(self) -> Condition:
        """The condition."""
        found = self.status.condition(conditions.AUTHENTICATED)
        assert found
        return found

    @property
    def ready(self) -> Condition:
        """Ready, as it follows."""
        return conditions.ready(None, usable=True, expires_at=None, login=self.authenticated)

    def _aim(self) -> LoginAim:
        return aim(mailbox=self.mailbox, issued_at=NOON, life=1000 * HOUR)

    def _seen(self, *, again: bool = False, tried: Tried | None = None) -> Seen:
        key = Key("app", "noreply")
        return Seen(key=key, uid=self.uid, client_id=CLIENT, now=self.now, aim=self._aim(), again=again, tried=tried)

    def _write(self, seen: Seen) -> None:
        login, condition = canary.next_state(self.status, seen)
        after = Status(login=login, conditions=(condition,))
        self.writes += after != self.status
        self.status = after


def brings(*results: LoginResult) -> Callable[[datetime.timedelta], LoginResult]:
    """One result after the other, the last one for ever."""
    left = list(results)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def gaps(instants: Iterable[datetime.timedelta]) -> list[float]:
    """Minutes between them."""
    return [(later - earlier) / MINUTE for earlier, later in itertools.pairwise(instants)]


def test_a_login_that_works_is_tried_at_once_and_then_every_six_hours() -> None:
    play = Play(brings(ACCEPTED))
    play.until(48)
    assert play.attempts[0] == 0 * SECOND
    assert {round(gap) for gap in gaps(play.attempts)} <= set(range(270, 362))
    assert (play.authenticated.status, play.authenticated.reason) == ("True", "Authenticated")
    assert "430" in play.authenticated.message, "it says what it cannot know"
    assert play.writes <= len(play.attempts) + 1, "one write each, and one before the first"


def test_a_refused_login_is_tried_after_1_2_5_10_and_then_every_15_minutes() -> None:
    play = Play(brings(REFUSED))
    play.until(3, step=6 * SECOND)
    expected = [1, 2, 5, 10, *[15] * 20]
    assert all(
        0.9 * pause <= gap <= 1.1 * pause + 0.1 for gap, pause in zip(gaps(play.attempts), expected, strict=False)
    )
    assert 14 <= len(play.attempts) <= 18


@pytest.mark.promise("refused-login-is-told")
def test_a_refusal_is_pending_for_two_hours_and_then_ready_is_false_with_the_commands() -> None:
    play = Play(brings(REFUSED))
    play.look()
    pending = play.authenticated
    assert (pending.status, pending.reason, play.ready.status) == ("False", "LoginPending", "True")
    first, then, *_ = pending.message.splitlines()
    assert first.startswith("Exchange refuses the login as noreply@contoso.com (token): 535 5.7.3 Authentication")
    assert "rights take up to 2 hours to spread" in then
    assert "until 14:00 UTC" in then
    play.until(1.98)
    assert (play.authenticated.reason, play.ready.status) == ("LoginPending", "True")
    play.until(2.3)
    refused = play.authenticated
    assert (refused.status, refused.reason) == ("False", "LoginRefused")
    assert (play.ready.status, play.ready.reason, play.ready.message) == ("False", "LoginRefused", refused.message)
    for command in (
        f"New-ServicePrincipal -AppId {CLIENT} -ObjectId {OBJECT} -DisplayName o365mailer-app-noreply",
        f"Test-ServicePrincipalAuthorization -Identity {CLIENT} -Resource noreply@contoso.com",
        "Set-CASMailbox -Identity noreply@contoso.com -SmtpClientAuthenticationDisabled $false",
        "o365mailer setup noreply -n app",
        "o365mailer refresh noreply -n app",
    ):
        assert command in refused.message
        assert command in pending.message or "refresh" in command
    assert "this machine" not in refused.message


def test_rights_that_spread_within_two_hours_never_touch_ready() -> None:
    play = Play(lambda passed: REFUSED if passed < 100 * MINUTE else ACCEPTED)
    while play.now < NOON + 8 * HOUR:
        play.look()
        assert play.ready.status == "True"
        play.now += MINUTE
    assert play.authenticated.status == "True"
    assert play.status.login
    assert (play.status.login.refusals, play.status.login.refused_since) == (0, None)


@pytest.mark.promise("one-login-proves-little")
def test_a_mailer_that_worked_stays_ready_until_three_refusals_over_15_minutes() -> None:
    play = Play(lambda passed: ACCEPTED if passed < 10 * HOUR else REFUSED)
    play.until(10)
    first = None
    while play.ready.status == "True":
        play.look()
        if play.attempts[-1] >= 10 * HOUR:
            first = first or play.now
        play.now += MINUTE
    assert first
    assert 15 * MINUTE <= play.now - first <= 25 * MINUTE
    assert (play.authenticated.reason, play.ready.reason) == ("LoginRefused", "LoginRefused")


@pytest.mark.promise("one-login-proves-little")
@given(st.lists(st.sampled_from([ACCEPTED, REFUSED, BUSY, SHUT]), max_size=60))
def test_ready_is_false_only_after_two_hours_and_three_refusals_with_no_login_that_worked(
    results: list[LoginResult],
) -> None:
    play, row = Play(brings(ACCEPTED)), []
    play.look()
    for result in results:
        login = play.status.login
        assert login
        assert login.next_time
        play.now, play.exchange = login.next_time, brings(result)
        before = play.ready.status
        play.look()
        if result is ACCEPTED:
            row.clear()
        elif result is REFUSED:
            row.append(play.now)
        refused = len(row) >= 3 and row[-1] - row[0] >= 15 * MINUTE and play.now >= NOON + 2 * HOUR
        if result in (BUSY, SHUT):
            assert play.ready.status == before
        else:
            assert play.ready.status == ("False" if refused else "True")


@pytest.mark.parametrize("before", [[ACCEPTED], [REFUSED], [SHUT], [REFUSED] * 20], ids=["yes", "new", "shut", "no"])
def test_not_now_changes_nothing_and_is_tried_again_later(before: list[LoginResult]) -> None:
    play = Play(brings(*before, BUSY))
    while len(play.attempts) < len(before):
        play.look()
        play.now += MINUTE
    kept = play.authenticated
    while len(play.attempts) < len(before) + 1:
        play.look()
        play.now += MINUTE
    assert play.authenticated == kept
    assert play.status.login
    assert play.status.login.next_time
    assert play.status.login.next_time > play.now


@pytest.mark.parametrize(
    "reply", ["432 4.3.2 limit", "421 4.3.2 Service not available", "451 4.7.500 Server busy", "535 5.7.142 soon"]
)
def test_a_mailer_whose_first_login_is_put_off_is_not_judged(reply: str) -> None:
    play = Play(brings(replied(reply)))
    play.look()
    assert (play.authenticated.status, play.authenticated.reason) == ("Unknown", "LoginNotTried")
    assert "tried again soon" in play.authenticated.message


@pytest.mark.parametrize(
    ("result", "reason", "word"),
    [
        (failed(Fault.UNKNOWN_HOST, Stage.DNS), "ExchangeUnreachable", "dns-unknown"),
        (failed(Fault.DNS_SILENT, Stage.DNS), "ExchangeUnreachable", "dns-silent"),
        (failed(Fault.REFUSED), "ExchangeUnreachable", "connection-refused"),
        (failed(Fault.SILENT), "ExchangeUnreachable", "silent"),
        (failed(Fault.INJECTED, Stage.STARTTLS), "ExchangeUnreachable", "injected"),
        (failed(Fault.TLS, Stage.TLS), "ExchangeUnreachable", "tls-failed"),
        (replied("554 5.7.1 no", Stage.GREETING), "ExchangeUnreachable", "recipient"),
        (failed(Fault.UNTRUSTED, Stage.TLS), "ExchangeNotTrusted", "tls-untrusted"),
        (failed(Fault.WRONG_NAME, Stage.TLS), "ExchangeNotTrusted", "tls-name"),
        (failed(Fault.EXPIRED, Stage.TLS), "ExchangeNotTrusted", "tls-expired"),
        (failed(Fault.NOT_YET_VALID, Stage.TLS), "ExchangeNotTrusted", "tls-not-yet-valid"),
    ],
)
def test_no_way_to_exchange_is_unknown_and_leaves_ready_alone(result: LoginResult, reason: str, word: str) -> None:
    play = Play(brings(result))
    play.until(6)
    assert (play.authenticated.status, play.authenticated.reason) == ("Unknown", reason)
    assert f"({word})" in play.authenticated.message
    assert "587 is often open to pods and shut to the controller" in play.authenticated.message
    assert "controller.canary" in play.authenticated.message
    assert play.ready.status == "True"
    assert len(play.attempts) < 12, "a shut port stays shut"


def test_after_a_login_that_worked_only_three_failures_in_a_row_make_it_unknown() -> None:
    play = Play(brings(ACCEPTED, SHUT, SHUT, ACCEPTED, SHUT, SHUT, SHUT))
    states = []
    while len(play.attempts) < 7:
        play.look()
        states.append(play.authenticated.status)
        play.now += 5 * MINUTE
    assert states[-1] == "Unknown"
    assert set(states[:-1]) == {"True"}


def test_a_refusal_stands_although_exchange_is_away_meanwhile() -> None:
    play = Play(lambda passed: REFUSED if passed < 4 * HOUR else SHUT)
    play.until(9)
    assert (play.authenticated.reason, play.ready.status) == ("LoginRefused", "False")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("535 5.7.3 Authentication unsuccessful", "LoginRefused"),
        ("535 5.7.139 …, SmtpClientAuthentication is disabled for the Tenant. Visit", "SmtpAuthDisabled"),
        ("535 5.7.139 …, SmtpClientAuthentication is disabled for the Mailbox. Visit", "SmtpAuthDisabled"),
        ("535 5.7.139 …, user is locked by your organization's security defaults policy.", "LoginBlockedByPolicy"),
        ("535 5.7.139 …, the request did not meet the criteria", "LoginBlockedByPolicy"),
        ("535 5.7.144 Invalid API permissions", "LoginRefused"),
        ("550 5.7.240 The application is not allowed", "AppNotAllowed"),
        ("550 5.1.8 Access denied, bad outbound sender", "LoginRefused"),
    ],
)
def test_each_refusal_has_its_reason(reply: str, reason: str) -> None:
    play = Play(brings(replied(reply)))
    play.until(3)
    assert (play.authenticated.reason, play.ready.reason) == (reason, reason)


def test_a_clock_that_was_ahead_does_not_put_off_the_truth() -> None:
    play = Play(brings(REFUSED), now=NOON + 500 * HOUR)
    for _ in range(16):
        play.look()
        play.now += MINUTE
    assert play.authenticated.reason == "LoginPending"
    play.now = NOON
    play.until(3)
    assert (play.authenticated.reason, play.ready.status) == ("LoginRefused", "False")


@pytest.mark.promise("logins-are-few")
def test_a_restart_tries_no_login_again() -> None:
    for number in range(1000):
        play = Play(brings(ACCEPTED if number % 3 else SHUT), uid=f"u-{number}")
        play.look()
        again = Play(play.exchange, uid=play.uid, status=play.status, now=play.now + 2 * MINUTE)
        again.look()
        assert (again.attempts, again.writes) == ([], 0)


@pytest.mark.promise("logins-are-few")
def test_a_thousand_mailers_do_not_stay_in_step() -> None:
    plays = [Play(brings(ACCEPTED), uid=f"u-{number}") for number in range(1000)]
    minutes: list[int] = []
    for play in plays:
        play.look()
        assert play.status.login
        assert play.status.login.next_time
        minutes.append(int((play.status.login.next_time - NOON) / MINUTE))
    assert max(minutes.count(minute) for minute in set(minutes)) < 30
    assert (min(minutes), max(minutes)) == (pytest.approx(270, abs=5), pytest.approx(360, abs=5))


def test_mailers_with_an_older_token_and_no_status_are_spread_over_a_quarter_of_an_hour() -> None:
    due = []
    for number in range(1000):
        play = Play(brings(ACCEPTED), uid=f"u-{number}", now=NOON + HOUR)
        play.look()
        assert play.status.login
        assert play.status.login.next_time
        due.append(0 * MINUTE if play.attempts else play.status.login.next_time - play.now)
    assert sum(wait < MINUTE for wait in due) < 120
    assert 14 * MINUTE < max(due) <= 15 * MINUTE


def test_another_mailbox_is_tried_at_once_and_gets_two_hours_of_its_own() -> None:
    play = Play(brings(REFUSED))
    play.until(3)
    assert play.ready.status == "False"
    play.mailbox, tried = "billing@contoso.com", len(play.attempts)
    play.look()
    assert len(play.attempts) == tried + 1
    assert (play.authenticated.reason, play.ready.status) == ("LoginPending", "True")
    assert "billing@contoso.com" in play.authenticated.message


def test_a_refresh_is_a_reason_for_a_login_and_not_for_two_more_hours() -> None:
    """Exchange sees the application in the token, and not the credential."""
    play = Play(brings(REFUSED))
    play.until(3)
    tried = len(play.attempts)
    play.look(again=True)
    assert len(play.attempts) == tried + 1
    assert (play.authenticated.reason, play.ready.status) == ("LoginRefused", "False")


@pytest.mark.parametrize(("life", "last"), [(HOUR, 50), (10 * MINUTE, 5), (4 * MINUTE, 2)])
def test_a_token_that_ends_soon_is_not_used(life: datetime.timedelta, last: int) -> None:
    """Nor in the second half of a short life: a tenant's policy may give tokens ten minutes."""
    login = Login(subject="x", since=NOON, next_time=NOON)
    assert canary.due(login, aim(life=life), now=NOON + last * MINUTE)
    assert not canary.due(login, aim(life=life), now=NOON + last * MINUTE + SECOND)


def test_one_login_in_ten_seconds_however_often_the_mailer_changes() -> None:
    login = Login(subject="x", since=NOON, next_time=NOON)
    assert not canary.due(login, aim(), now=NOON, begun=NOON - 9 * SECOND)
    assert canary.due(login, aim(), now=NOON, begun=NOON - 10 * SECOND)


def test_a_time_from_a_wrong_clock_does_not_put_the_login_off_for_ever() -> None:
    assert canary.due(Login(subject="x", since=NOON, next_time=NOON + 90 * HOUR), aim(), now=NOON)
    assert not canary.due(Login(subject="x", since=NOON, next_time=NOON + 6 * HOUR), aim(), now=NOON)


def test_without_a_token_what_was_known_stays() -> None:
    play = Play(brings(ACCEPTED))
    play.look()
    seen = Seen(key=Key("app", "noreply"), uid="u-1", client_id=CLIENT, now=NOON, aim=None)
    assert canary.next_state(play.status, seen) == (play.status.login, play.authenticated)
    login, condition = canary.next_state(Status(), seen)
    assert (login, condition.status, condition.reason) == (None, "Unknown", "LoginNotTried")


def test_the_result_of_another_token_is_not_used() -> None:
    play = Play(brings(ACCEPTED))
    tried = Tried(aim(issued_at=NOON - HOUR), NOON, REFUSED)
    seen = Seen(key=Key("app", "noreply"), uid="u-1", client_id=CLIENT, now=NOON, aim=aim(), tried=tried)
    login, condition = canary.next_state(play.status, seen)
    assert condition.reason == "LoginNotTried"
    assert canary.due(login, aim(), now=NOON)


def test_off_is_said_and_the_login_is_tried_anew_when_it_is_on_again() -> None:
    off = canary.off()
    assert (off.status, off.reason) == ("Unknown", "CanaryOff")
    assert "controller.canary" in off.message
    play = Play(brings(ACCEPTED), status=Status(conditions=(off,)))
    play.look()
    assert play.authenticated.status == "True"


def test_neither_the_token_nor_more_than_the_limit_is_in_a_message() -> None:
    play = Play(brings(replied("535 5.7.3 " + "x" * 3000)), mailbox=f"{'m' * 64}@{'contoso' * 20}.com")
    play.until(3)
    assert len(play.authenticated.message) <= conditions.MESSAGE_LIMIT
    assert "o365mailer setup noreply -n app" in play.authenticated.message, "nothing is cut"
    assert token()[:20] not in play.authenticated.message + repr(aim())


@dataclasses.dataclass
class Forged(Play):
    """A mailer whose token Secret was edited: a user who may edit Secrets of a namespace may write any claim."""

    oid: str = OBJECT

    def _aim(self) -> LoginAim:
        return dataclasses.replace(super()._aim(), token=token(oid=self.oid))


def test_no_user_of_a_namespace_can_forge_a_command_for_the_exchange_administrator() -> None:
    def message(mailbox: str, oid: str) -> str:
        play = Forged(brings(REFUSED), mailbox=mailbox, oid=oid)
        play.until(3)
        assert play.authenticated.reason == "LoginRefused"
        return play.authenticated.message

    good = message("noreply@contoso.com", OBJECT)
    assert f"-ObjectId {OBJECT}" in good, "without an attack, the claim is in the commands"
    for end in ("\n", "\r", "\u2028", "\x85"):
        forged = message("noreply@contoso.com", f"3{end}Remove-Mailbox ceo{end}")
        assert "Remove-Mailbox" not in forged
        assert "-ObjectId OBJECT_ID_OF_THE_ENTERPRISE_APPLICATION" in forged
    for end in ("\u2028", "\u2029", "\u202e"):  # which a mailbox may have by its pattern
        forged = message(f"a{end}Remove-Mailbox\u2003ceo{end}b@contoso.com", OBJECT)
        assert len(forged.splitlines()) == len(good.splitlines())
        assert end not in forged


def test_members_that_go_are_removed_from_the_status() -> None:
    """A merge patch keeps what it does not name (RFC 7396 §1)."""
    login = Login(subject="x", since=NOON)
    assert encode_status(Status(login=login))["login"] == {
        "subject": "x",
        "since": "2026-11-23T12:00:00Z",
        "lastTime": None,
        "nextTime": None,
        "refusals": None,
        "refusedSince": None,
        "failures": None,
    }
    assert encode_status(Status())["login"] is None
    again = msgspec.structs.replace(login, refusals=3)
    assert encode_status(Status(login=again))["login"]["refusals"] == 3
