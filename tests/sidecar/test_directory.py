"""The mailer directory in every state that kubelet, a hand or a newer controller can leave it in."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.sidecar_process import MailerDirectory, Sidecar, Wire, document, running

from o365mailer_sidecar.errors import NotReady
from o365mailer_sidecar.mailer import LOOK_HOLDS
from o365mailer_sidecar.mailer import MailerDirectory as Reader

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GOOD = json.dumps(document("smtp.example.com", 587))
TOKEN = "token-not-a-secret"


def reader(directory: MailerDirectory, now: Callable[[], datetime] = lambda: NOON) -> Reader:
    """A reader whose reports are dropped."""
    return Reader(directory.path, now=now, report=lambda *_, **__: None)


def problem(directory: MailerDirectory) -> str:
    """Why nothing can be submitted with it."""
    with pytest.raises(NotReady) as error:
        reader(directory).mailer()
    return str(error.value)


def edited(**members: Any) -> str:
    """The good document with other members."""
    return json.dumps(document("smtp.example.com", 587) | members)


def dangling(directory: MailerDirectory, name: str) -> None:
    """Make a file a link to nothing, as a Secret's key looks while its volume is being set up."""
    file = directory.path / "..data" / name
    file.unlink()
    file.symlink_to("..nowhere/file")


@pytest.mark.promise("listens-at-once")
@pytest.mark.parametrize(
    ("settings", "token", "text"),
    [(GOOD[:40], TOKEN, "mailer.json cannot be used: Input data was truncated"),
     ("", TOKEN, "mailer.json cannot be used: Input data was truncated"),
     (GOOD[:-1] + ', "x": ' + "[" * 9999 + "]" * 9999 + "}", TOKEN, "mailer.json cannot be used: nested too deeply"),
     (b"\xff", TOKEN, "mailer.json cannot be used: "),
     (edited(submission={"host": "x", "port": 0}), TOKEN,
      "mailer.json cannot be used: Expected `int` >= 1 - at `$.submission.port`"),
     (edited(schemaVersion=2), TOKEN, ("mailer.json cannot be used: schemaVersion is 2 and this version reads 1: "
      "restart the pod to get a newer sidecar")),
     (edited(requires=["redirectTo"]), TOKEN, ("mailer.json requires redirectTo, which this version does not know: "
      "restart the pod to get a newer sidecar")),
     (None, TOKEN, "mailer.json is not there yet"),
     (GOOD, "", "access_token is empty"),
     (GOOD, " \n", "access_token is empty"),
     (GOOD, "two words", "access_token holds characters that no bearer token has"),
     (GOOD, None, "access_token is not there yet"),
     (None, None, "mailer.json is not there yet; access_token is not there yet")],
)  # fmt: skip
def test_what_cannot_be_used_is_named(
    directory: MailerDirectory, settings: str | bytes | None, token: str | None, text: str
) -> None:
    directory.write(mailer_json=settings, access_token=token)
    assert problem(directory).startswith(text)


def test_a_directory_that_is_missing_or_empty_is_named(tmp_path: Path, directory: MailerDirectory) -> None:
    assert problem(directory) == "mailer.json is not there yet; access_token is not there yet"
    directory.path.rmdir()
    assert problem(directory) == f"the mailer directory {directory.path} cannot be opened: No such file or directory"


@pytest.mark.parametrize("name", ["mailer.json", "access_token"])
def test_a_dangling_link_is_named(directory: MailerDirectory, name: str) -> None:
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    dangling(directory, name)
    assert problem(directory) == f"{name} is a symbolic link to nothing"


@pytest.mark.parametrize("name", ["mailer.json", "access_token"])
def test_what_is_not_a_file_is_named(directory: MailerDirectory, name: str) -> None:
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    (directory.path / "..data" / name).unlink()
    os.mkfifo(directory.path / "..data" / name)
    assert problem(directory) == f"{name} is not a file"


def test_a_file_of_any_size_is_not_read(directory: MailerDirectory) -> None:
    directory.write(mailer_json=GOOD, access_token="x" * (2**20 + 1))
    assert problem(directory) == "access_token is larger than 1048576 bytes"


@pytest.mark.parametrize(
    "pem", ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_authorities_that_cannot_be_read_are_never_replaced_by_the_systems(
    directory: MailerDirectory, pem: str
) -> None:
    directory.write(mailer_json=GOOD, access_token=TOKEN, ca_crt=pem)
    assert problem(directory) == "ca.crt holds no certificate in PEM form"


def test_a_plain_directory_is_valid_and_files_written_in_place_are_noticed(directory: MailerDirectory) -> None:
    (directory.path / "mailer.json").write_text(GOOD)
    (directory.path / "access_token").write_text(TOKEN + "\n")
    read = reader(directory)
    assert read.mailer().token.value == TOKEN
    (directory.path / "access_token").write_text("another-not-a-secret")
    assert read.mailer().token.value == "another-not-a-secret"


@pytest.mark.parametrize("expires", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_a_token_can_have_ended_on_the_first_of_all_days(directory: MailerDirectory, expires: str) -> None:
    directory.write(mailer_json=edited(expiresAt=expires), access_token=TOKEN)
    with pytest.raises(NotReady, match="the token expired at"):
        reader(directory).mailer()


@pytest.mark.promise("changes-without-restart")
@pytest.mark.parametrize(
    "files",
    [{"mailer_json": GOOD[:40], "access_token": TOKEN}, {"mailer_json": edited(schemaVersion=2), "access_token": TOKEN},
     {"access_token": ""}, {"mailer_json": GOOD, "access_token": TOKEN, "ca_crt": "nothing"}, {}],
)  # fmt: skip
def test_the_last_good_stays_in_use_whatever_comes(directory: MailerDirectory, files: dict[str, Any]) -> None:
    authority = trustme.CA().cert_pem.bytes()
    directory.write(mailer_json=edited(revision=7), access_token=TOKEN, ca_crt=authority)
    read = reader(directory)
    good = read.mailer()
    directory.write(**files)
    assert read.mailer() == good
    assert good.ca == authority.decode()
    assert read.problem()


@pytest.mark.promise("changes-without-restart")
def test_a_new_token_is_used_even_beside_settings_of_a_newer_schema(directory: MailerDirectory) -> None:
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    read = reader(directory)
    read.mailer()
    directory.write(mailer_json=edited(schemaVersion=2), access_token="newer-not-a-secret")
    assert read.mailer().token.value == "newer-not-a-secret"
    assert read.mailer().settings.mailbox == "noreply@contoso.com"


@pytest.mark.promise("changes-without-restart")
def test_a_restriction_that_is_unknown_stops_relaying_until_it_is_gone(directory: MailerDirectory) -> None:
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    read = reader(directory)
    read.mailer()
    directory.write(mailer_json=edited(requires=["redirectTo"]), access_token=TOKEN)
    with pytest.raises(NotReady, match="requires redirectTo"):
        read.mailer()
    directory.write()
    with pytest.raises(NotReady, match="requires redirectTo"):
        read.mailer()
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    assert read.mailer()


@pytest.mark.promise("changes-without-restart")
def test_a_token_is_used_until_it_expires_and_not_beyond(directory: MailerDirectory) -> None:
    clock = [NOON]
    directory.write(mailer_json=edited(expiresAt="2026-11-23T13:00:00Z"), access_token=TOKEN)
    read = reader(directory, now=lambda: clock[0])
    assert read.mailer()
    directory.write()
    clock[0] = NOON + timedelta(minutes=59, seconds=57)
    assert read.mailer()
    clock[0] = NOON + timedelta(minutes=59, seconds=59)
    with pytest.raises(NotReady, match="the token expired at 2026-11-23T13:00:00Z and no newer one has come"):
        read.mailer()
    directory.write(mailer_json=edited(expiresAt="2026-11-23T15:00:00Z"), access_token="newer-not-a-secret")
    assert read.mailer().token.value == "newer-not-a-secret"


UNUSABLE: list[dict[str, Any]] = [
    {},
    {"mailer_json": GOOD},
    {"mailer_json": GOOD[:40], "access_token": TOKEN},
    {"mailer_json": GOOD, "access_token": TOKEN, "ca_crt": "nothing"},
    {"mailer_json": edited(requires=["redirectTo"]), "access_token": TOKEN},
    {"mailer_json": edited(expiresAt="2026-11-23T11:59:59Z"), "access_token": "old-not-a-secret"},
]


@pytest.mark.promise("changes-without-restart")
@pytest.mark.parametrize("files", UNUSABLE)
def test_a_mailer_is_used_the_moment_it_appears(directory: MailerDirectory, files: dict[str, Any]) -> None:
    directory.write(**files)
    read = Reader(directory.path, now=lambda: NOON, report=lambda *_, **__: None, monotonic=lambda: 0.0)
    with pytest.raises(NotReady):
        read.mailer()
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    assert read.mailer().token.value == TOKEN


@pytest.mark.promise("changes-without-restart")
def test_a_token_that_ends_while_a_look_holds_hides_no_newer_one(directory: MailerDirectory) -> None:
    clock = [NOON]
    directory.write(mailer_json=edited(expiresAt="2026-11-23T13:00:00Z"), access_token=TOKEN)
    read = Reader(directory.path, now=lambda: clock[0], report=lambda *_, **__: None, monotonic=lambda: 0.0)
    assert read.mailer().token.value == TOKEN
    directory.write(mailer_json=GOOD, access_token="newer-not-a-secret")
    assert read.mailer().token.value == TOKEN, "the control: the look holds"
    clock[0] = NOON + timedelta(hours=1)
    assert read.mailer().token.value == "newer-not-a-secret"


def test_a_look_that_found_a_mailer_holds_for_a_moment(directory: MailerDirectory) -> None:
    moment = [0.0]
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    read = Reader(directory.path, now=lambda: NOON, report=lambda *_, **__: None, monotonic=lambda: moment[0])
    assert read.mailer().token.value == TOKEN
    directory.write(mailer_json=GOOD, access_token="newer-not-a-secret")
    assert read.mailer().token.value == TOKEN
    moment[0] = LOOK_HOLDS
    assert read.mailer().token.value == "newer-not-a-secret"


def test_a_look_holds_from_its_beginning(directory: MailerDirectory) -> None:
    moment = [0.0]

    def slow(*_: object, **__: object) -> None:
        moment[0] = LOOK_HOLDS

    directory.write(mailer_json=GOOD, access_token=TOKEN)
    read = Reader(directory.path, now=lambda: NOON, report=slow, monotonic=lambda: moment[0])
    read.look()
    directory.write(mailer_json=GOOD, access_token="newer-not-a-secret")
    assert read.mailer().token.value == "newer-not-a-secret"


@pytest.mark.promise("changes-without-restart")
def test_an_app_is_greeted_by_the_settings_of_this_moment(directory: MailerDirectory, idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        assert "SIZE 36700160\n" in app.ask("EHLO test")
        directory.write(mailer_json=edited(limits={"messageSize": "50Mi"}), access_token=TOKEN)
        assert "SIZE 52428800\n" in app.ask("EHLO test")


def test_a_token_does_not_show_in_its_representation(directory: MailerDirectory) -> None:
    directory.write(mailer_json=GOOD, access_token=TOKEN)
    assert TOKEN not in repr(reader(directory).mailer())


@pytest.mark.promise("listens-at-once")
def test_the_app_and_the_log_are_told_what_is_waited_for(directory: MailerDirectory, idle_sidecar: Sidecar) -> None:
    waiting = idle_sidecar.event("waiting_for_mailer")
    assert waiting["reason"] == "mailer.json is not there yet; access_token is not there yet"
    with Wire(idle_sidecar.port) as app:
        app.begin()
        reply = app.deliver(b"Subject: x\r\n\r\n")
    expected = "451 4.3.5 The relay waits for its mailer: mailer.json is not there yet; access_token is not there yet ["
    assert reply.startswith(expected)
    directory.write(mailer_json=GOOD[:40], access_token=TOKEN)
    with Wire(idle_sidecar.port) as app:
        for _ in range(3):
            app.begin()
            assert "mailer.json cannot be used: Input data was truncated" in app.deliver(b"Subject: x\r\n\r\n")
    idle_sidecar.event("message", nth=4)
    assert len(idle_sidecar.events("mailer_directory_problem")) == 2
    assert len(idle_sidecar.events("waiting_for_mailer")) == 1


def test_a_file_that_must_not_be_read_names_the_user(directory: MailerDirectory) -> None:
    directory.write(mailer_json=GOOD, access_token=TOKEN, mode=0)
    # Root reads everything, unless it may not.
    mortal = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    with running(directory.path, prefix=mortal) as sidecar, Wire(sidecar.port) as app:
        app.begin()
        reply = app.deliver(b"Subject: x\r\n\r\n")
    assert f"mailer.json cannot be read by user {os.geteuid()}: Permission denied" in reply
