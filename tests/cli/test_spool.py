"""`o365mailer run` gives its relay a spool, where its user expects it, and tells what waits in it."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from support.spooled import RECEIVED, body, envelope, spool_in

from o365mailer_cli.document import Document
from o365mailer_cli.errors import RelayFailed, WrongFlag, WrongInput
from o365mailer_cli.main import main
from o365mailer_cli.run.relay import Relay
from o365mailer_cli.run.spool import SpoolDirectory, open_spool, usual_place, with_way_out
from o365mailer_operator.token.spec import decode_spec
from o365mailer_sidecar.message.message import Message

WAY_OUT = "Name a directory on a disk with --spool-dir, or send without a spool: --no-spool."


def told_to(relay: int) -> str | None:
    """The spool directory that the relay's process was started with."""
    variables = Path(f"/proc/{relay}/environ").read_bytes().decode().split("\0")
    return next((each.partition("=")[2] for each in variables if each.startswith("O365MAILER_SPOOL_DIR=")), None)


def put(spool: Path, *names: str, part: str = "0") -> None:
    """Messages that wait there."""
    (spool / part / "queue").mkdir(parents=True, exist_ok=True)
    for name in names:
        (spool / part / "queue" / name).write_bytes(b"")


def mailer(name: str = "noreply", mailbox: str = "noreply@contoso.com", **submission: Any) -> Document:
    spec = {
        "tenantId": "contoso.com",
        "clientId": "22222222-2222-4222-8222-222222222222",
        "mailbox": mailbox,
        "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
        "submission": submission,
    }
    return Document(name, None, decode_spec(spec))


@pytest.mark.promise("run-without-kubernetes")
def test_it_spools_beside_the_users_state_unless_told_otherwise(files: Any, start: Any, tmp_path: Path) -> None:
    run = start(*files.arguments(), environment={"XDG_STATE_HOME": str(tmp_path / "mine")})
    place = tmp_path / "mine" / "o365mailer" / "noreply" / files.emulator.smtp_host / files.emulator.mailbox

    assert run.next("mail that Office 365 does not take yet waits in ") == (
        f"mail that Office 365 does not take yet waits in {place}"
    )
    run.port()

    assert told_to(run.relay_process()) == str(place)
    assert {made.stat().st_mode & 0o777 for made in [place, *place.parents][:4]} == {0o700}


@pytest.mark.promise("run-without-kubernetes")
def test_a_directory_may_be_named(files: Any, start: Any, tmp_path: Path) -> None:
    run = start(*files.arguments("--spool-dir", "named"))  # it is started in tmp_path
    run.port()

    assert told_to(run.relay_process()) == str(tmp_path / "named")


@pytest.mark.promise("run-without-kubernetes")
def test_without_a_spool_nothing_is_made_or_said_of_one(files: Any, start: Any, tmp_path: Path) -> None:
    run = start(*files.arguments("--no-spool"), environment={"O365MAILER_SPOOL_DIR": str(tmp_path / "other")})
    run.port()
    assert told_to(run.relay_process()) is None
    run.process.send_signal(signal.SIGTERM)
    assert run.ended() == 0

    assert not (tmp_path / "state").exists()
    assert "stopping: what is in flight is finished first (again to stop at once)" in run.said
    assert not [line for line in run.said if "wait" in line]


@pytest.mark.promise("run-without-kubernetes")
def test_what_waits_is_told_at_the_start_and_at_the_end(files: Any, start: Any, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    put(spool, "2990A37EA2F3", ".spare.1")
    put(spool, "2990A37EA2F4", part="1")
    run = start(*files.arguments("--spool-dir", str(spool)))
    run.next("2 mails from before are there: sent as soon as Office 365 takes them")
    run.port()
    put(spool, "2990A37EA2F5", part="9")  # by a relay that is not ours
    run.process.send_signal(signal.SIGTERM)
    run.next("stopping: what is in flight is finished first, and what waits is tried once more (again to stop at once)")

    assert run.ended() == 0
    waiting = SpoolDirectory(spool).waiting()
    assert waiting > 0
    assert run.said[-1] == f"stopped: 0 mails relayed, {waiting} waiting in {spool} for the next run"


def test_another_mailbox_or_host_of_the_same_name_finds_nothing_of_it() -> None:
    places = {
        usual_place(mailer(), {"HOME": "/home/a"}),
        usual_place(mailer(name="other"), {"HOME": "/home/a"}),
        usual_place(mailer(mailbox="other@contoso.com"), {"HOME": "/home/a"}),
        usual_place(mailer(host="emulator.example"), {"HOME": "/home/a"}),
    }
    assert len(places) == 4
    assert usual_place(mailer(mailbox="NoReply@Contoso.com", host="SMTP.office365.com."), {"HOME": "/home/a"}) in places


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({"HOME": "/home/a"}, "/home/a/.local/state"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/var/state"}, "/var/state"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "state"}, "/home/a/.local/state"),
    ],
)
def test_the_users_state_is_where_the_specification_says(environment: dict[str, str], base: str) -> None:
    expected = Path(base, "o365mailer/noreply/smtp.office365.com/noreply@contoso.com")
    assert usual_place(mailer(), environment) == expected


def test_a_slash_in_an_address_is_no_directory() -> None:
    assert usual_place(mailer(mailbox="../a/b@contoso.com"), {"HOME": "/h"}).name == "..%2Fa%2Fb@contoso.com"


def test_a_user_without_a_home_is_told_the_way_out() -> None:
    with pytest.raises(WrongInput) as told:
        usual_place(mailer(), {"XDG_STATE_HOME": "", "HOME": ""})
    assert str(told.value) == f"--spool-dir: neither XDG_STATE_HOME nor HOME says where mail could wait. {WAY_OUT}"


def test_a_spool_that_cannot_be_made_is_told_before_a_token_is_asked_for(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"{files.mailer}/spool"

    assert main(["run", *files.arguments("--spool-dir", place)], {}) == 2

    assert capsys.readouterr().err == f"o365mailer: --spool-dir: {place} cannot be made: Not a directory. {WAY_OUT}\n"
    assert files.emulator.counters()["tokensIssued"] == 0


def test_a_spool_is_named_or_none_not_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "-f", "x", "--spool-dir", "a", "--no-spool"], {})

    assert "argument --no-spool: not allowed with argument --spool-dir" in capsys.readouterr().err


def test_the_relays_refusal_of_the_usual_place_gets_the_way_out() -> None:
    refused = WrongFlag("--spool-dir: '/dev/shm/x' is in memory (tmpfs), and a spool must outlive the machine")

    assert str(with_way_out(refused)) == f"{refused}. {WAY_OUT}"
    for other in (WrongFlag("--listen: 'x' is not an address"), RelayFailed("--spool-dir: it ended")):
        assert with_way_out(other) is other


@pytest.mark.parametrize(("stopping", "status", "fine"), [(True, 75, True), (False, 75, False), (True, 3, False)])
async def test_a_relay_that_was_stopped_and_leaves_mail_in_the_spool_has_not_failed(
    stopping: bool, status: int, fine: bool
) -> None:
    relay = Relay(await asyncio.create_subprocess_exec(sys.executable, "-c", f"raise SystemExit({status})"))
    relay.stopping = stopping

    problem = await relay.ended()

    assert (problem is None) is fine


def test_a_spool_that_is_there_is_used_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "2990A37EA2F3")
    tmp_path.chmod(0o750)

    assert open_spool(tmp_path).waiting() == 1
    assert tmp_path.stat().st_mode & 0o777 == 0o750


async def test_what_a_relay_has_stored_counts_and_the_files_that_it_holds_ready_do_not(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for name in ("2990A37EA2F3", "2990A37EA2F4"):
            await spool.store(Message(envelope(name), body(), RECEIVED))
        assert len(list((tmp_path / "0" / "queue").iterdir())) > 2
        assert SpoolDirectory(tmp_path).waiting() == len(spool.messages) == 2


def test_a_spool_that_has_gone_holds_nothing(tmp_path: Path) -> None:
    assert SpoolDirectory(tmp_path / "gone").waiting() == 0
    (tmp_path / "0").write_bytes(b"")
    assert SpoolDirectory(tmp_path).waiting() == 0
