"""`scan` prints no value of a setting: not from variables, arguments, URLs, ConfigMaps or Secrets, in no encoding."""

import base64
import json
import urllib.parse
from pathlib import Path

import pytest
import yaml
from cli.scan_cases import CASES, CORPUS, scan
from hypothesis import given, settings
from hypothesis import strategies as st

from o365mailer_cli.scan.login import logins
from o365mailer_cli.scan.setting import Place, Setting, Source
from o365mailer_cli.scan.text import settings_in

CANARY = "c4n4ry/+%~Zq7"
MAILBOX = "canary.mailbox@contoso.com"


def forms(secret: str) -> set[str]:
    """A secret as it stands, quoted, and encoded. Of base64 the part that no neighbour changes."""
    encoded = base64.b64encode(secret.encode()).decode()
    shifted = {base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in (1, 2)}
    quoted = urllib.parse.quote(secret, safe="")
    return {secret, encoded.rstrip("="), encoded[:-4], quoted, json.dumps(secret)[1:-1], *shifted}


def with_canaries(text: str) -> str:
    """The case with canaries for its passwords, and with Secrets encoded as the API server has them."""
    text = text.replace("example-password", CANARY).replace("example-secret", CANARY)
    documents = []
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and document.get("kind") == "Secret":
            plain = document.pop("stringData", {})
            document["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        documents.append(document)
    return yaml.safe_dump_all(documents)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.promise("scan-shows-no-secret")
def test_no_password_of_the_corpus_is_printed(form: str, tmp_path: Path) -> None:
    planted = 0
    for case in CASES:
        content = with_canaries((CORPUS / f"{case}.yaml").read_text(encoding="utf-8"))
        planted += sum(content.count(one) for one in forms(CANARY))
        (tmp_path / f"{case}.yaml").write_text(content, encoding="utf-8")

    _, told = scan("-o", form, "--read-secrets", "--with-addresses", "-f", str(tmp_path))

    assert planted > 40, "the corpus has no canaries"
    assert "smtp.office365.com" in told
    assert [one for one in forms(CANARY) if one in told] == []


PLACES = {
    "variable": "env: [{name: SMTP_HOST, value: smtp.office365.com}, {name: SMTP_USER, value: 'MAILBOX'},"
    " {name: SMTP_PASSWORD, value: 'SECRET'}]",
    "url": "env: [{name: MAILER_DSN, value: 'smtp://MAILBOX:SECRET@smtp.office365.com:587'}]",
    "arguments": "args: ['--smtp-host=smtp.office365.com', '--smtp-user', 'MAILBOX', '--smtp-password', 'SECRET']",
    "script": "command: [sh, -c, \"curl --user 'MAILBOX:SECRET' smtp://smtp.office365.com:587\"]",
    "swapped": "env: [{name: SMTP_HOST, value: 'SECRET'}, {name: SMTP_PASSWORD, value: smtp.office365.com}]",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["text", "json"])
def test_neither_password_nor_mailbox_is_printed_unless_asked_for(place: str, form: str, tmp_path: Path) -> None:
    container = PLACES[place].replace("SECRET", CANARY).replace("MAILBOX", MAILBOX)
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: app, namespace: web}\n"
        f"spec: {{containers: [{{name: app, {container}}}]}}"
    )

    _, told = scan("-o", form, "-f", str(manifest))
    _, shown = scan("-o", form, "--with-addresses", "-f", str(manifest))

    assert [one for one in forms(CANARY) | forms(MAILBOX) if one in told] == []
    assert [one for one in forms(CANARY) if one in shown] == []
    if place in {"variable", "url", "arguments"}:
        assert MAILBOX in shown


LINES = (
    "{} smtp.office365.com",
    "{}: smtp.office365.com",
    "{}=smtp.office365.com:587",
    "smtp.office365.com {}",
    "[smtp.office365.com]:587 {}:{}",
    "smtp_host = smtp.office365.com {}",
    "smtp://{}:{}@smtp.office365.com",
    "machine smtp.office365.com login {} password {}",
    "<{}>smtp.office365.com</{}>",
    "define('{}', 'smtp.office365.com');",
    "--{} smtp.office365.com",
)


@given(st.sampled_from(LINES), st.text("abcXYZ019_", min_size=8, max_size=20))
@settings(max_examples=200)
def test_a_secret_in_the_place_of_a_name_is_not_shown(line: str, secret: str) -> None:
    """A file may have a password where its format has a name. Only names that say what they are for are shown."""
    from o365mailer_cli.scan.move import Choice, edits_for, move_config_map
    from o365mailer_cli.scan.report import Found

    unlike = f"q{secret}q"
    for login in logins(
        list(settings_in(line.replace("{}", unlike), Place(Source.FILE, object="ConfigMap/a", file="f")))
    ):
        found = Found(login, "web/configmap/a", "", move_config_map(login, "web", "a", Choice("MAILER", certain=False)))

        assert edits_for(login)
        assert unlike not in json.dumps(found.document(addresses=False))


@pytest.mark.parametrize(
    ("user", "mailbox"), [("me@contoso.com", "me@contoso.com"), ("me@contoso.com:example-pass", None)]
)
def test_a_user_with_its_password_in_one_value_is_no_mailbox(user: str, mailbox: str | None) -> None:
    """As in `curl --user name:password`."""
    place = Place(Source.ENV, "app")

    (login,) = logins([Setting("SMTP_HOST", "smtp.office365.com", place), Setting("SMTP_USER", user, place)])

    assert login.mailbox == mailbox
