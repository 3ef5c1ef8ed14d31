"""What a verb prints: one JSON document, or text for a person, with colours and tables on a terminal.

Results go to standard output. Progress goes to standard error, and only to a terminal. Text from a cluster (conditions,
Events, replies) may contain any character, so control characters are removed: they could write over other lines of a
terminal.
"""

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from o365mailer_cli.finding import Finding, Group, Status

if TYPE_CHECKING:
    from rich.console import Console

JSON: Final = "json"
TEXT: Final = "text"
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Every control character but tab and line feed, with those that turn the direction of a line around."""
UNBOUNDED: Final = 10_000
"""Columns of a line that is not on a terminal: a program that reads it wants a row in one line."""
STYLES: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red", Status.UNKNOWN: "cyan"}
PLAIN_MARKS: Final = {"✓": "ok", "✗": "x", "!": "!", "?": "?", "…": "..."}
"""For an output whose encoding lacks the signs, such as a terminal in the locale C."""


class Output:
    """Where one verb writes."""

    def __init__(self, form: str = TEXT, *, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.form = form
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self._console: Console | None = None

    @classmethod
    def of(cls, given: argparse.Namespace) -> "Output":
        """What `-o` asks for."""
        return cls(given.output)

    @property
    def json(self) -> bool:
        """Whether the user asked for JSON."""
        return self.form == JSON

    def document(self, value: Any) -> None:
        """Write one JSON document."""
        text = json.dumps(value, indent=2, ensure_ascii=False)
        if not self._encodes(text):  # an old locale, or half a character in an annotation
            text = json.dumps(value, indent=2)
        self.out.write(CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")

    def line(self, text: str = "", *, style: str = "") -> None:
        """Write a line of text. `style` is rich's, such as `bold red`."""
        from rich.text import Text

        self._print(Text(self._flat(text), style=style))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]]) -> None:
        """Write rows below a headline. A cell is a text, or a text with a style."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold", show_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=not self.console.is_terminal)
        for row in rows:
            pairs = [cell if isinstance(cell, tuple) else (cell, "") for cell in row]
            table.add_row(*(Text(self._flat(text), style=style) for text, style in pairs))
        self._without_trailing_space(table)

    def groups(self, groups: Iterable[Group]) -> None:
        """Write findings: a mark and the fact; below it cause, remedy and link unless all is well."""
        for number, group in enumerate(groups):
            if number:
                self.line()
            self.line(group.title, style="bold")
            for finding in group.findings:
                self.finding(finding)

    def finding(self, finding: Finding) -> None:
        """Write one finding."""
        from rich.text import Text

        about = f"{finding.subject}: " if finding.subject else ""
        mark = Text(self._clean(finding.status.mark), style=STYLES[finding.status])
        self._print(mark.append(f" {self._flat(about + finding.title)}", style="default"))
        for label, text in (("cause", finding.cause), ("remedy", finding.remedy), ("see", finding.link)):
            if text and finding.status is not Status.OK:
                indented = self._clean(text).replace("\n", "\n            ")
                self._print(Text(f"    {label + ':':<8}{indented}"))

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator["Progress"]:
        """Show on a terminal's standard error what the command waits for, until the block ends."""
        if not self.err.isatty():
            yield Progress(None)
            return
        from rich.console import Console
        from rich.text import Text

        with Console(file=self.err).status(Text(CONTROL.sub("", text))) as status:
            yield Progress(status)

    def warning(self, text: str) -> None:
        """Say on standard error what went wrong, and does not change the result."""
        self.err.write(f"{self._flat(text)}\n")

    @property
    def console(self) -> "Console":
        """Rich's console on standard output. It imports rich, so JSON does not ask for it."""
        if self._console is None:
            from rich.console import Console

            terminal = self.out.isatty()
            self._console = Console(
                file=self.out, width=None if terminal else UNBOUNDED, force_terminal=terminal, highlight=False
            )
        return self._console

    def _print(self, text: Any) -> None:
        self.console.print(text, soft_wrap=True)

    def _without_trailing_space(self, renderable: Any) -> None:
        if self.console.is_terminal:
            self.console.print(renderable)
            return
        with self.console.capture() as captured:
            self.console.print(renderable)
        self.out.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())

    def _flat(self, text: str) -> str:
        """On one line, so that a text of the cluster cannot look like a line of ours."""
        return self._clean(text).replace("\n", " ")

    def _clean(self, text: str) -> str:
        cleaned = CONTROL.sub("", text)
        if self._encodes(cleaned):
            return cleaned
        for sign, plain in PLAIN_MARKS.items():
            cleaned = cleaned.replace(sign, plain)
        encoding = self.out.encoding or "utf-8"
        return cleaned.encode(encoding, "replace").decode(encoding)

    def _encodes(self, text: str) -> bool:
        try:
            text.encode(self.out.encoding or "utf-8")
        except UnicodeEncodeError:
            return False
        return True


def finish(stream: TextIO) -> None:
    """Flush. If that fails, redirect it to nowhere: Python would flush again at exit, and fail with status 120."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Progress:
    """What a command waits for, on a terminal; elsewhere nothing."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def update(self, text: str) -> None:
        """Show another text."""
        if self._status:
            from rich.text import Text

            self._status.update(Text(CONTROL.sub("", text)))
