"""`scan` on apps as people run them: what logs in with a password is found, nothing else is, and each can be moved."""

import pytest
import yaml
from cli.recipes_page import BEGIN, END, PAGE, table
from cli.scan_cases import CASES, CORPUS, expected_path, found_in_case, scan

from o365mailer_cli.scan.apps import RECIPES


@pytest.mark.parametrize("case", CASES)
@pytest.mark.promise("scan-finds-passwords")
def test_the_case_yields_what_stands_next_to_it(case: str) -> None:
    assert found_in_case(case) == yaml.safe_load(expected_path(case).read_text(encoding="utf-8"))


def test_every_app_of_the_table_that_has_an_image_is_in_the_corpus_or_shares_its_recipe() -> None:
    """The corpus names what the table names: an app is added to both."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in CORPUS.glob("*.yaml"))
    missing = {one.app for one in RECIPES if f"{one.app} logs in" not in text}

    assert missing == {
        "Django (django-environ)",  # like Symfony's: one URL
        "Redmine (Bitnami)",  # like WordPress's
        "Mattermost",
        "Authentik",
        "n8n",
        "Vaultwarden",
    }


@pytest.mark.parametrize(("case", "status"), [("grafana", 1), ("nothing", 0), ("keycloak-oauth", 0)])
def test_the_exit_status_says_whether_a_login_with_a_password_was_found(case: str, status: int) -> None:
    assert scan("-f", str(CORPUS / f"{case}.yaml"))[0] == status


def test_an_app_that_follows_its_lines_is_found_no_more() -> None:
    """The settings as `expected-grafana-environment.yaml` says that they must be."""
    import tempfile
    from pathlib import Path

    manifest = (CORPUS / "grafana-environment.yaml").read_text(encoding="utf-8")
    lines = [line for line in manifest.splitlines() if "GF_SMTP_USER" not in line and "GF_SMTP_PASSWORD" not in line]
    moved = "\n".join(lines).replace("smtp.office365.com:587", "127.0.0.1:25")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moved.yaml"
        path.write_text(moved, encoding="utf-8")

        assert scan("-f", str(path)) == (0, "Scanned 1 workload: 0 logins to Office 365 with a password.\n")


def test_the_guide_shows_the_recipes_that_scan_uses() -> None:
    """Write them with `python -m cli.recipes_page` in tests/."""
    assert f"{BEGIN}\n{table()}\n{END}" in PAGE.read_text(encoding="utf-8")
