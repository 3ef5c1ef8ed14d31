"""What docs/run.md and the demo show is what `o365mailer run` takes."""

import re
import string
import textwrap
from pathlib import Path

import pytest
import yaml

from o365mailer_cli.document import decode_document
from o365mailer_cli.main import parser
from o365mailer_cli.object_source import SECRET, variable_of

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")


def test_the_guides_mailer_is_a_mailer() -> None:
    (block,) = re.findall(r"^ *```yaml\n(.*?)```", GUIDE, re.MULTILINE | re.DOTALL)

    assert decode_document(yaml.safe_load(textwrap.dedent(block))).spec.mailbox == "noreply@contoso.com"


def test_the_demos_mailer_is_a_mailer() -> None:
    template = string.Template((ROOT / "demo" / "mailer.yaml").read_text(encoding="utf-8"))
    filled = template.substitute(
        tenant="contoso.com",
        client="22222222-2222-4222-8222-222222222222",
        mailbox="noreply@contoso.com",
        authority="https://127.0.0.1:8443",
        smtp_host="127.0.0.1",
        smtp_port=587,
    )

    assert decode_document(yaml.safe_load(filled)).name == "demo"


def test_every_flag_is_in_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["run", "--help"])
    flags = set(re.findall(r"(--[a-z-]+)", capsys.readouterr().out)) - {"--help"}

    documented = set(re.findall(r"`(?:-f`, `)?(--[a-z-]+)", GUIDE))

    assert "--listen" in flags
    assert flags <= documented


def test_the_guides_variables_are_the_ones_that_are_read() -> None:
    for name, key in (("noreply", "secret"), ("noreply-tls", "tls.crt"), ("noreply-tls", "tls.key")):
        assert f"`{variable_of(SECRET, name, key)}`" in GUIDE
