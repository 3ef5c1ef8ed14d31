"""A human sees one line that changes; a log gets plain lines."""

import datetime
import io
from pathlib import Path

from o365mailer_cli.run.progress import Progress
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.errors import ENTRA_UNREACHABLE, EntraError, EntraRefused

NOW = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def token(*, until: datetime.datetime = NOW + HOUR, warnings: tuple[str, ...] = ()) -> Token:
    return Token(
        value="not-a-secret",
        issued_at=NOW,
        expires_at=until,
        refresh_at=None,
        credential_ref="the Secret noreply/secret",
        warnings=warnings,
    )


def progress(out: io.StringIO) -> Progress:
    return Progress(out, now=lambda: NOW)


def until(instant: datetime.datetime) -> str:
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def test_a_log_gets_a_line_for_each_token_and_none_for_mails() -> None:
    out = io.StringIO()
    told = progress(out)

    told.token(token())
    told.message("accepted")
    told.token(token(until=NOW + 2 * HOUR))
    told.stopped()

    assert out.getvalue().splitlines() == [
        f"token obtained with the Secret noreply/secret, valid until {until(NOW + HOUR)}",
        f"token refreshed with the Secret noreply/secret, valid until {until(NOW + 2 * HOUR)}",
        "stopped: 1 mail relayed",
    ]


def test_a_terminal_gets_one_line_that_is_written_again() -> None:
    out = Terminal()
    told = progress(out)

    told.token(token())
    told.token(token())
    told.message("accepted")
    told.message("accepted")
    told.message("deferred")

    last = out.getvalue().split("\r\x1b[K")[-1]
    assert last == f"token valid until {until(NOW + HOUR)}, refreshed once, 2 mails relayed, 1 not"[:79]
    assert out.getvalue().count("\n") == 1


def test_the_same_failure_is_told_once_and_another_one_again() -> None:
    out = io.StringIO()
    told = progress(out)

    told.failed(EntraError(ENTRA_UNREACHABLE, "away", correlation_id="1"), wait=5)
    told.failed(EntraError(ENTRA_UNREACHABLE, "away", correlation_id="2"), wait=7.5)
    told.failed(EntraRefused("no", code=7000222), wait=900)

    assert out.getvalue().splitlines() == [
        "no token (EntraUnreachable): away [correlation id 1]",
        "the relay answers 451 until there is one; apps that retry lose nothing",
        "no token (AADSTS7000222): no",
        "the relay answers 451 until there is one; apps that retry lose nothing",
    ]
    assert str(told.tally) == "AADSTS7000222, trying again in 15 min"


def test_with_a_spool_mail_waits_instead_of_being_sent_back() -> None:
    out = Terminal()
    told = progress(out)

    told.spool(Path("/var/spool/x"), waiting=0)
    told.failed(EntraError(ENTRA_UNREACHABLE, "away"), wait=5)
    told.waits(2)
    assert str(told.tally) == "EntraUnreachable, trying again in 5 s, 2 mails waiting"
    told.token(token())
    told.waits(3)

    assert "mail waits in the spool until there is one\n" in out.getvalue()
    assert "451" not in out.getvalue()
    assert (
        str(told.tally) == f"token valid until {until(NOW + HOUR)}, refreshed 0 times, 0 mails relayed, 3 mails waiting"
    )


def test_the_status_line_is_written_again_only_when_another_number_waits() -> None:
    out = Terminal()
    told = progress(out)
    told.spool(Path("/var/spool/x"), waiting=1)
    before = out.getvalue()

    told.waits(1)
    assert out.getvalue() == before
    told.waits(2)
    assert out.getvalue() != before


def test_a_message_that_failed_for_good_is_named_where_it_is_kept() -> None:
    out = io.StringIO()
    told = progress(out)
    told.spool(Path("/var/spool/x"), waiting=0)
    told.message("accepted", queue_id="2990A37EA2F3")
    told.message("dead", queue_id="2990A37EA2F4")

    assert out.getvalue().splitlines()[1:] == [
        "2990A37EA2F4 failed for good: it is kept as a dead letter in /var/spool/x"
    ]
    assert (told.tally.relayed, told.tally.refused) == (1, 1)


def test_the_last_line_says_what_is_left_and_where() -> None:
    out = io.StringIO()
    told = progress(out)
    told.spool(Path("/var/spool/x"), waiting=1)
    told.waits(2)
    told.stopped()

    assert out.getvalue().splitlines() == [
        "mail that Office 365 does not take yet waits in /var/spool/x",
        "1 mail from before is there: sent as soon as Office 365 takes it",
        "stopped: 0 mails relayed, 2 waiting in /var/spool/x for the next run",
    ]


def test_a_failure_while_the_last_token_is_good_does_not_speak_of_451() -> None:
    out = io.StringIO()
    told = progress(out)

    told.token(token())
    told.failed(EntraError(ENTRA_UNREACHABLE, "away"), wait=5)

    assert out.getvalue().splitlines()[1:] == ["no token (EntraUnreachable): away"]


def test_warnings_stand_before_the_token() -> None:
    out = io.StringIO()
    progress(out).token(token(warnings=("the old secret is no good",)))

    assert out.getvalue().splitlines()[0] == "warning: the old secret is no good"


def test_the_relays_own_warnings_are_words_on_a_terminal() -> None:
    out = Terminal()
    progress(out).relay_event({"time": "x", "level": "warning", "event": "upstream_away", "reason": "refused"})

    assert "relay: upstream away: reason refused\n" in out.getvalue()
