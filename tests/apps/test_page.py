"""docs/apps.md, its results, and the measures that the tests judge by."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
from apps import driver, installing, page, tap
from apps.programs import PROGRAMS
from apps.scenarios import DELIVERED, SCENARIOS
from cluster_rig.errors import BuildError, MachineLacksError

from o365mailer_contract.quantities import seconds
from o365mailer_contract.settings import Delivery


@pytest.mark.promise("docs-show-what-was-measured")
def test_the_page_is_what_the_results_say() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(page.results(), page.waits())


@pytest.mark.promise("docs-show-what-was-measured")
def test_every_program_has_been_through_every_scenario() -> None:
    found = page.results()
    assert list(found) == [program.name for program in PROGRAMS]
    assert all(list(kept) == [scenario.name for scenario in SCENARIOS] for kept in found.values())


@pytest.mark.promise("docs-show-what-was-measured")
def test_every_program_waits_longer_than_the_sidecar_by_default() -> None:
    default = seconds(Delivery().confirm_within)
    waits = page.waits()
    assert list(waits) == [program.name for program in PROGRAMS]
    assert all(waited is None or waited > default for waited in waits.values())


def test_no_program_loses_mail_without_a_word() -> None:
    for name, kept in page.results().items():
        for scenario in SCENARIOS:
            assert kept[scenario.name]["arrived"] or kept[scenario.name]["told"] != "ok", (name, scenario.name)


def test_every_program_can_send_all_but_utf8_addresses() -> None:
    for kept in page.results().values():
        for scenario in DELIVERED:
            if scenario.name != "utf8-address":
                assert kept[scenario.name]["arrived"] == [list(recipients) for recipients in scenario.arrives]


HEAD = b"Received: by o365mailer with ESMTP id 2990A37EA2F3;\r\n\tThu, 26 Nov 2026 00:09:29 +0000\r\n"
SENT = b"Subject: x\r\n\r\n.\r\nend\r\n"


@pytest.mark.parametrize("ours", [b"", b"Date: x\r\n", b"Date: x\r\nMessage-ID: <x@y>\r\n"])
def test_our_own_lines_are_no_change(ours: bytes) -> None:
    assert driver.unchanged(HEAD + ours + SENT, SENT)
    assert driver.unchanged(HEAD + ours + SENT, SENT.replace(b"\r\n.\r\n", b"\n.\n"))


@pytest.mark.parametrize(
    "content",
    [
        SENT,
        HEAD + b"X-Ours: x\r\n" + SENT,
        HEAD + SENT.replace(b"x", b"y"),
        HEAD + SENT.replace(b"\r\n.\r\n", b"\r\n..\r\n"),
        HEAD + SENT + b"\r\n",
        HEAD + SENT[1:],
    ],
)
def test_anything_else_is_a_change(content: bytes) -> None:
    assert not driver.unchanged(content, SENT)


def test_the_tap_finds_each_message_and_takes_one_dot_of_every_line() -> None:
    said = b"EHLO x\r\nDATA\r\n..\r\n...x\r\nend\r\n.\r\nDATA\r\n.\r\ndata \r\nSubject: x\r\n\r\nDATA\r\n.\r\nQUIT\r\n"
    assert tap.messages(said) == [b".\r\n..x\r\nend\r\n", b"", b"Subject: x\r\n\r\nDATA\r\n"]
    assert tap.messages(b"DATA\r\nhalf a message\r\n") == []


def test_a_jar_that_is_not_the_listed_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(b"")
    installing.check_hashes(tmp_path, f"{hashlib.sha256(b'').hexdigest()}  a.jar\n")
    with pytest.raises(BuildError, match=r"a\.jar"):
        installing.check_hashes(tmp_path, f"{hashlib.sha256(b'another').hexdigest()}  a.jar\n")
    with pytest.raises(BuildError, match=r"a\.jar"):
        installing.check_hashes(tmp_path, "")


def test_what_a_machine_lacks_is_named() -> None:
    program = dataclasses.replace(PROGRAMS[0], tools=("no-such-program", "sh"), files=("/no/such/file",))
    with pytest.raises(MachineLacksError, match=r"^no-such-program is not installed, /no/such/file is not there$"):
        driver.prepared(program)
