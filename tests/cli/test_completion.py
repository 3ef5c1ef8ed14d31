"""`o365mailer completion`: the shells complete verbs, flags and files."""

import subprocess

import pytest

from o365mailer_cli.main import main
from o365mailer_cli.verb import VERBS


def test_bash_completes_verbs_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"], {}) == 0
    script = capsys.readouterr().out

    def completed(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_o365mailer; echo ${{COMPREPLY[@]}}"
        told = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
        return set(told.stdout.split())

    assert completed("o365mailer", "") >= {verb.name for verb in VERBS}
    assert completed("o365mailer", "stat") == {"status"}
    assert completed("o365mailer", "status", "--names") == {"--namespace"}
    assert completed("o365mailer", "status", "--output", "") == {"text", "json"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_the_other_shells_get_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell], {}) == 0

    script = capsys.readouterr().out
    assert [verb.name for verb in VERBS if verb.name not in script] == []


def test_an_unknown_shell_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "fish"], {})

    assert ended.value.code == 2
    assert "invalid choice: 'fish' (choose from " in capsys.readouterr().err
