"""`o365mailer-sidecar spool …`: what a person sees of the spool, and decides about it, with files alone."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.spooled import RECEIVED, body, content_of, envelope, files, recovered, spool_in

from o365mailer_contract import names
from o365mailer_sidecar.errors import Gone
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool import command
from o365mailer_sidecar.spool.entry import Event
from o365mailer_sidecar.spool.inspect import SpoolFile
from o365mailer_sidecar.spool.partition import started

SECRET = b"what is in a body is nobody's business\r\n"
CONTENT = b"Subject: invoice \x1b[31m\r\nX-Folded: a\r\n\tb\r\n\r\n" + SECRET
NOW = RECEIVED + timedelta(hours=2, minutes=5)

FOLLOW = """
import signal, sys
from datetime import UTC, datetime
from pathlib import Path
from o365mailer_sidecar.spool.spool import Spool
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
spool = Spool(Path(sys.argv[1]), now=lambda: datetime.now(UTC), report=print)
list(spool.recovered())
print("ready", flush=True)
while True:
    signal.sigwait([signal.SIGHUP])
    changes = spool.reread()
    kinds = [",".join(f"{each.queue_id}{'-held' * each.held}" for each in kind) for kind in changes]
    print(*kinds, sep="|", flush=True)
"""


def ran(directory: Path | None, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, output, complaints."""
    out, complaints = io.StringIO(), io.StringIO()
    where = {names.ENV_SPOOL_DIR: str(directory)} if directory else {}
    with redirect_stderr(complaints):
        status = command.main(arguments, where | environment, now=lambda: NOW, output=out)
    return status, out.getvalue(), complaints.getvalue()


async def filled(directory: Path) -> Path:
    """One of each state: ABC1 waits, ABD2 is tried again, DEAD3 is dead, and a file is no message."""
    with spool_in(directory) as spool:
        await spool.store(Message(envelope("ABC1"), body(CONTENT), RECEIVED))
        tried = await spool.store(
            Message(
                envelope("ABD2", "b@example.com", "c@example.com", "d@example.com"),
                body(CONTENT),
                RECEIVED + timedelta(minutes=1),
            )
        )
        event = Event(
            at=RECEIVED,
            event="attempt",
            outcome="deferred",
            reply="432 4.3.2 Crowded",
            due=NOW + timedelta(minutes=3, seconds=9),
            accepted=("c@example.com",),
            refused={"d@example.com": "550 5.1.1 no such user"},
        )
        await spool.record(tried, event, durable=True)
        dead = await spool.store(Message(envelope("DEAD3"), body(CONTENT), RECEIVED))
        refused = {"a@example.com": "550 5.7.60 denied"}
        await spool.move_to_dead(
            dead,
            Event(at=RECEIVED, event="attempt", outcome="refused", reply="550 5.7.60 denied", refused=refused),
        )
    (directory / "0" / "damaged" / "BAD4").write_bytes(b"\x1b]0;evil\x07")
    return directory


def message(directory: Path, queue_id: str) -> dict[str, Any]:
    """What `show --json` says."""
    status, text, complaints = ran(directory, "show", "--json", queue_id)
    assert (status, complaints) == (0, "")
    shown: dict[str, Any] = json.loads(text)
    return shown


@pytest.mark.promise("spool-commands")
async def test_the_table_says_what_waits_for_whom_and_why(tmp_path: Path) -> None:
    status, text, _ = ran(await filled(tmp_path), "ls")
    assert status == 0
    assert text.splitlines() == [
        "QUEUE ID  STATE    AGE    SIZE  TRIES  NEXT      FROM                   TO                LAST ANSWER",
        f"BAD4      damaged  ?      ?     ?      -         ?{' ' * 22}?                 its header does not end",
        "ABC1      queued   2h05m  83    0      now       <noreply@contoso.com>  a@example.com",
        "DEAD3     dead     2h05m  83    1      -         <noreply@contoso.com>  a@example.com     550 5.7.60 denied",
        "ABD2      queued   2h04m  83    1      in 3m09s  <noreply@contoso.com>  b@example.com +2  432 4.3.2 Crowded",
        "2 queued (896), 1 dead (461), 1 damaged (0)",
    ]


@pytest.mark.parametrize(
    ("refused", "told"),
    [({}, "accepted for 1 of 2 recipients"), ({"b@example.com": "550 5.1.1 no such user"}, "550 5.1.1 no such user")],
)
async def test_a_message_that_some_recipients_have_says_why_it_is_still_here(
    tmp_path: Path, refused: dict[str, str], told: str
) -> None:
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope("ABC1", "a@example.com", "b@example.com"), body(CONTENT), RECEIVED))
        event = Event(at=RECEIVED, event="attempt", reply="250 2.0.0 OK", accepted=("a@example.com",), refused=refused)
        await spool.record(stored, event, durable=True)
    assert ran(tmp_path, "ls")[1].splitlines()[1].endswith(f"  {told}")


async def test_a_program_gets_the_same_as_json(tmp_path: Path) -> None:
    status, text, _ = ran(await filled(tmp_path), "ls", "--json", "--state", "queued")
    assert status == 0
    first, second = json.loads(text)
    assert (first["queueId"], first["state"], first["partition"], first["attempts"]) == ("ABC1", "queued", "0", 0)
    assert second["recipients"] == [
        {"address": "b@example.com", "state": "due"},
        {"address": "c@example.com", "state": "accepted"},
        {"address": "d@example.com", "state": "refused", "reply": "550 5.1.1 no such user"},
    ]


@pytest.mark.promise("spool-commands")
async def test_show_tells_everything_but_the_body_and_no_control_character(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    for arguments in (
        ("show", "ABC1", "--headers"),
        ("show", "--json", "ABC1", "--headers"),
        ("ls",),
        ("show", "BAD4"),
    ):
        status, text, _ = ran(directory, *arguments)
        assert status == 0
        assert SECRET.decode().strip() not in text
        assert "\x1b" not in text
    _, text, _ = ran(directory, "show", "abd", "--headers")
    assert "To:         <d@example.com> refused 550 5.1.1 no such user\n" in text
    assert "2026-11-25 12:00:00  attempt deferred 432 4.3.2 Crowded\n" in text
    assert "Subject: invoice \\x1b[31m\nX-Folded: a\n b\n" in text
    assert "Subject" not in ran(directory, "show", "ABD2")[1]


async def test_a_message_without_headers_shows_nothing_of_its_body(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await spool.store(Message(envelope("A"), body(SECRET), RECEIVED))
        await spool.store(Message(envelope("B"), body(b"\r\n" + SECRET), RECEIVED))
    for queue_id in ("A", "B"):
        assert SECRET.decode().strip() not in ran(tmp_path, "show", queue_id, "--headers")[1]


@pytest.mark.promise("spool-commands")
async def test_what_is_decided_waits_for_the_next_process(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    assert ran(directory, "hold", "ABC1") == (
        0,
        "ABC1: on hold\nno process has partition 0: the next that starts on it sees the change\n",
        "",
    )
    assert message(directory, "ABC1")["state"] == "held"
    assert ran(directory, "retry", "ABD2", "dead")[0] == 0
    with spool_in(directory) as spool:
        found = recovered(spool)
        assert found.keys() == {"ABC1", "ABD2", "DEAD3"}
        with pytest.raises(Gone, match="on hold"):
            await spool.open(found["ABC1"])
        assert found["ABD2"].due == found["DEAD3"].due == NOW
        opened = await spool.open(found["DEAD3"])
        given, content = opened.envelope, opened.body
        assert [to.address for to in given.recipients] == ["a@example.com"], "who was refused is due again"
        assert content_of(content) == CONTENT
    assert ran(directory, "release", "ABC1")[0] == 0
    assert message(directory, "ABC1")["state"] == "queued"


async def test_flush_makes_everything_due_but_what_is_on_hold(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    ran(directory, "hold", "ABC1")
    status, text, _ = ran(directory, "flush")
    assert (status, text.splitlines()[0]) == (0, "1 waiting, all to be tried now")
    with spool_in(directory) as spool:
        found = recovered(spool)
        assert (found["ABC1"].held, found["ABD2"].due) == (True, NOW)
        assert found["ABD2"].refused == 1, "who was refused stays refused"


async def test_drop_deletes_a_message_wherever_it_is(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    assert ran(directory, "drop", "ABC1", "DEAD3", "BAD4")[0] == 0
    assert files(directory).keys() == {"ABD2"}
    assert not files(directory, "dead")
    assert not files(directory, "damaged")


async def test_a_repaired_file_goes_back_into_the_queue_and_one_that_is_not_does_not(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    good = directory / "0" / "queue" / "ABC1"
    damaged = directory / "0" / "damaged" / "ABC1"
    damaged.write_bytes(good.read_bytes().replace(b"invoice", b"INVOICE"))
    good.unlink()
    assert ran(directory, "retry", "ABC1") == (1, "", "o365mailer-sidecar spool: ABC1: its checksum is wrong\n")
    text = damaged.read_bytes()
    crc = text.index(b'"crc32":"') + 9
    damaged.write_bytes(text[:crc] + b"unchecked" + text[crc + 8 :])
    assert ran(directory, "retry", "ABC1")[0] == 0
    with spool_in(directory) as spool:
        assert b"INVOICE" in content_of((await spool.open(recovered(spool)["ABC1"])).body)


@pytest.mark.promise("spool-commands")
@pytest.mark.parametrize("arguments", [("show",), ("show", "--headers"), ("show", "--json")])
async def test_a_message_that_is_sent_while_it_is_shown_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    directory, found_first = await filled(tmp_path), command.named

    def sent_meanwhile(queue_id: str, found: list[SpoolFile]) -> SpoolFile:
        one = found_first(queue_id, found)
        one.path.unlink()
        return one

    monkeypatch.setattr(command, "named", sent_meanwhile)
    assert ran(directory, *arguments, "ABC1") == (
        1,
        "",
        "o365mailer-sidecar spool: ABC1: it was sent, or moved, in this moment\n",
    )


@pytest.mark.promise("spool-commands", "spool-sets-damaged-files-aside")
async def test_one_file_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    queue = directory / "0" / "queue"
    (queue / "LOOP5").symlink_to("LOOP5")
    os.mkfifo(queue / "PIPE6")
    (queue / "DIR7").mkdir()
    status, text, complaints = ran(directory, "ls")
    assert (status, complaints) == (0, "")
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["LOOP5"].endswith("it cannot be read: Too many levels of symbolic links")
    assert lines["PIPE6"].endswith("it is no file")
    assert lines["DIR7"].split()[1] == "damaged"
    assert lines.keys() >= {"ABC1", "ABD2", "DEAD3", "BAD4"}
    with spool_in(directory) as spool:
        assert recovered(spool).keys() == {"ABC1", "ABD2"}


def following(directory: Path) -> "subprocess.Popen[str]":
    """A process that has the spool, and says what it finds changed."""
    return subprocess.Popen([sys.executable, "-c", FOLLOW, str(directory)], stdout=subprocess.PIPE, text=True)


@contextmanager
def innocent_process() -> Iterator["subprocess.Popen[bytes]"]:
    """One that SIGHUP would end."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.promise("spool-commands")
async def test_a_running_process_is_told_and_follows(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    with following(directory) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for arguments, change in (
            (("hold", "ABC1"), "|ABC1-held|\n"),
            (("release", "ABC1"), "|ABC1|\n"),
            (("retry", "DEAD3"), "DEAD3||\n"),
            (("drop", "ABD2"), "||ABD2\n"),
        ):
            status, text, _ = ran(directory, *arguments)
            assert (status, text.splitlines()[-1]) == (0, f"process {process.pid} was told")
            assert process.stdout.readline() == change
        process.kill()


async def test_another_process_that_has_the_pid_by_now_is_left_alone(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    with innocent_process() as innocent:
        lock = directory / "0" / "lock"
        owner = json.loads(lock.read_text()) | {"pid": innocent.pid}
        lock.write_text(json.dumps(owner))
        assert "no process has partition 0" in ran(directory, "hold", "ABC1")[1]
        lock.write_text(json.dumps(owner | {"namespace": "pid:[1]", "host": "web-5d9"}))
        assert "of 'web-5d9', which cannot be told from here" in ran(directory, "release", "ABC1")[1]
        assert innocent.poll() is None
        innocent.kill()


@pytest.mark.promise("spool-commands")
async def test_a_pid_in_the_lock_is_not_enough_though_the_partition_is_locked(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool, innocent_process() as innocent:
        await spool.store(Message(envelope("ABC1"), body(CONTENT), RECEIVED))
        lock = tmp_path / "0" / "lock"
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"pid": innocent.pid}))
        assert "no process has partition 0" in ran(tmp_path, "hold", "ABC1")[1]
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"started": started(innocent.pid)}))
        assert f"process {innocent.pid} was told" in ran(tmp_path, "release", "ABC1")[1]
        assert innocent.wait(10) == -signal.SIGHUP, "the control: it is the start that told them apart"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "F00"), "no message 'F00': it was sent, or never stored (`spool ls` says what there is)"),
        (("drop", "AB"), "'AB' may be one of 2: ABC1 (queued, partition 0), ABD2 (queued, partition 0)"),
        (("drop", ""), "the queue id is empty: write one, or its beginning (`spool ls` says what there is)"),
        (("ls", "--spool-dir", "/dev/null"), "'/dev/null' is no spool directory: Not a directory"),
        (("ls", "--spool-dir", "/no/where"), "'/no/where' is no spool directory: No such file or directory"),
    ],
)
async def test_a_mistake_is_explained_and_nothing_is_done(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    assert ran(await filled(tmp_path), *arguments) == (2, "", f"o365mailer-sidecar spool: {complaint}\n")
    assert len(files(tmp_path)) == 2


async def test_what_a_message_is_not_fit_for_is_refused(tmp_path: Path) -> None:
    directory = await filled(tmp_path)
    assert ran(directory, "hold", "DEAD3", "ABC1")[::2] == (
        1,
        "o365mailer-sidecar spool: DEAD3: it is dead, not queued\n",
    )
    assert message(directory, "ABC1")["state"] == "held", "the others are changed"
    assert ran(directory, "release", "ABD2")[2] == "o365mailer-sidecar spool: ABD2: it is queued, not held\n"


def test_no_directory_is_said_with_where_to_name_one() -> None:
    status, _, complaint = ran(None, "ls")
    assert status == 2
    assert complaint.startswith(
        "o365mailer-sidecar spool: which spool? --spool-dir DIR or O365MAILER_SPOOL_DIR says so"
    )


async def test_an_empty_id_is_no_message_where_there_is_only_one(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await spool.store(Message(envelope("ABC1"), body(CONTENT), RECEIVED))
    assert ran(tmp_path, "drop", "")[0] == 2
    assert files(tmp_path).keys() == {"ABC1"}


def test_a_partition_named_for_its_spool_is_told_which_directory_is_meant(tmp_path: Path) -> None:
    with spool_in(tmp_path):
        pass
    status, _, complaint = ran(tmp_path, "ls", "--spool-dir", str(tmp_path / "0"))
    assert status == 2
    assert f"is one partition of a spool: name the directory above it, '{tmp_path}'" in complaint


def test_an_empty_spool_is_nothing(tmp_path: Path) -> None:
    with spool_in(tmp_path):
        assert ran(tmp_path, "ls") == (0, "nothing\n", "")
        assert ran(tmp_path, "flush") == (0, "nothing waits\n", "")


def test_who_may_not_read_the_spool_is_told_whom_to_be(tmp_path: Path) -> None:
    with spool_in(tmp_path):
        pass
    (tmp_path / "0").chmod(0)
    probe = """
import os, sys
from o365mailer_sidecar.spool import command
command.parser().parse_args(["ls"])  # whatever is imported late is not this user's to read
os.getuid() or os.setuid(65534)
sys.exit(command.main(["ls", "--spool-dir", sys.argv[1]], {}))
"""
    ended = subprocess.run([sys.executable, "-c", probe, str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "cannot be read: run this as the user that the sidecar runs as, or as root" in ended.stderr
