"""The frame of the command: its verbs, its usage, and what it imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from o365mailer_cli.main import main, parser
from o365mailer_cli.verb import VERBS


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"], {})

    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {verb.name}" in shown for verb in VERBS)


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_verb_has_a_description_and_helps(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"], {})

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: o365mailer {verb} ")


def test_every_verb_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")

    assert [verb.name for verb in VERBS if f"| [`{verb.name}`](" not in guide] == []


def test_without_a_verb_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(f"\n    {verb.name}" in shown.err for verb in VERBS)


def test_an_unknown_verb_is_told_with_the_verbs_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rnu"], {})

    assert ended.value.code == 2
    assert "invalid choice: 'rnu' (choose from" in capsys.readouterr().err


def test_it_is_a_plugin_of_kubectl() -> None:
    program = Path(sys.executable).with_name("kubectl-o365mailer")

    told = subprocess.run([program, "run", "--help"], capture_output=True, text=True)

    assert told.returncode == 0
    assert told.stdout.startswith("usage: kubectl o365mailer run ")


def test_a_verb_imports_nothing_of_the_others() -> None:
    """`run` starts without the Kubernetes client, and `--help` without any verb."""
    code = """
import sys
from o365mailer_cli.main import parser
parser(["--help"])
print(*[name for name in sys.modules if name.startswith("o365mailer_cli.run")])
parser(["run"])
print(*[name for name in ("kubernetes", "rich", "shtab") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "\n\n"


def test_no_verb_takes_a_shortened_flag() -> None:
    """A flag that is added later would make it ambiguous."""
    with pytest.raises(SystemExit):
        parser(["run"]).parse_args(["run", "-f", "x", "--secrets", "y"])
