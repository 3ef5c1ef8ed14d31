"""What a verb prints: JSON, tables, findings; on a terminal and elsewhere."""

import io
import json
from typing import Any

import pytest

from o365mailer_cli.finding import Finding, Group, Status, exit_status, worst
from o365mailer_cli.output import Output


class Stream(io.StringIO):
    """A text stream that may be a terminal, and may have an old encoding."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self.terminal, self.named = terminal, encoding

    def isatty(self) -> bool:
        return self.terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.named


def output(form: str = "text", **stream: Any) -> tuple[Output, Stream, Stream]:
    out, err = Stream(**stream), Stream(**stream)
    return Output(form, out=out, err=err), out, err


FAILED = Finding(
    name="smtp.dns",
    status=Status.FAILED,
    title="smtp.office365.com has no address",
    subject="team/noreply",
    cause="The resolver says NXDOMAIN.",
    remedy="Look at the pod's DNS.",
    link="https://example.com/page",
)
FINE = Finding(name="smtp.dns", status=Status.OK, title="smtp.office365.com has an address", cause="not shown")


def test_a_table_in_a_pipe_has_no_colour_no_frame_and_one_line_a_row() -> None:
    made, out, _ = output()

    made.table(["NAME", "WHY"], [["a", ("x" * 300, "red")], ["bbbb", "short"]])

    assert out.getvalue() == f"NAME   WHY\na      {'x' * 300}\nbbbb   short\n"


def test_a_table_on_a_terminal_has_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made, out, _ = output(terminal=True)

    made.table(["NAME"], [[("a", "red")]])

    assert "\x1b[31m" in out.getvalue()


def test_no_color_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    made, out, _ = output(terminal=True)

    made.table(["NAME"], [[("a", "red")]])

    assert "\x1b[31m" not in out.getvalue()


def test_text_of_the_cluster_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    made, out, _ = output(terminal=True)

    made.line("a\x1b[2Jb\x07c [bold]d")
    made.table(["NAME"], [["a\x1b]0;title\x07b"]])
    made.finding(Finding(name="a", status=Status.FAILED, title="t\x1b[1A", cause="c\r\x9b1A"))

    assert not {"\x1b[2J", "\x07", "\x1b]", "\x1b[1A", "\x9b"} & set(out.getvalue())
    assert "\x1b" not in out.getvalue()
    assert "[bold]d" in out.getvalue()


def test_a_finding_has_cause_remedy_and_link_unless_all_is_well() -> None:
    made, out, _ = output()

    made.groups([Group("Exchange", [FINE, FAILED])])

    assert out.getvalue() == (
        "Exchange\n"
        "✓ smtp.office365.com has an address\n"
        "✗ team/noreply: smtp.office365.com has no address\n"
        "    cause:  The resolver says NXDOMAIN.\n"
        "    remedy: Look at the pod's DNS.\n"
        "    see:    https://example.com/page\n"
    )


def test_signs_that_the_terminal_lacks_become_ascii() -> None:
    made, out, _ = output(encoding="ascii")

    made.groups([Group("Größe", [FINE, FAILED])])

    assert "\nok smtp.office365.com has" in out.getvalue()
    assert "\nx team/noreply:" in out.getvalue()
    assert out.getvalue().startswith("Gr??e\n")


def test_findings_are_json_with_every_key() -> None:
    made, out, _ = output("json")

    made.document({"groups": [Group("Exchange", [FAILED]).document()]})

    (finding,) = json.loads(out.getvalue())["groups"][0]["findings"]
    assert finding == {
        "name": "smtp.dns",
        "status": "failed",
        "title": "smtp.office365.com has no address",
        "subject": "team/noreply",
        "cause": "The resolver says NXDOMAIN.",
        "remedy": "Look at the pod's DNS.",
        "link": "https://example.com/page",
    }


def test_only_a_failure_decides_the_exit_status() -> None:
    warning = Finding(name="a", status=Status.WARNING, title="t")
    unknown = Finding(name="a", status=Status.UNKNOWN, title="t")

    assert exit_status([FINE, warning, unknown]) == 0
    assert exit_status([FINE, FAILED, warning]) == 1
    assert [worst([]), worst([FINE, unknown]), worst([unknown, warning]), worst([warning, FAILED])] == [
        Status.OK,
        Status.UNKNOWN,
        Status.WARNING,
        Status.FAILED,
    ]


def test_progress_is_for_a_terminal_alone() -> None:
    made, out, err = output()
    with made.progress("asking 100 pods") as progress:
        progress.update("asking 99 pods")
    assert out.getvalue() + err.getvalue() == ""

    made, out, err = output(terminal=True)
    with made.progress("asking 100 pods"):
        pass
    assert "asking 100 pods" in err.getvalue()
    assert out.getvalue() == ""
