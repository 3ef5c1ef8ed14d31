"""Secrets are found where a mounted Secret, or a variable, would have them."""

from pathlib import Path
from typing import Any

import pytest
from support.refused import refused

from o365mailer_cli.object_source import CONFIG_MAP, SECRET, ObjectFiles, ObjectVariables, source_of, variable_of
from o365mailer_operator.token.errors import (
    CONFIG_MAP_KEY_MISSING,
    SECRET_NOT_FOUND,
    ConfigMapError,
    CredentialError,
)
from o365mailer_operator.token.spec import Spec, decode_spec


def spec(**members: Any) -> Spec:
    """A spec that names what `members` say."""
    return decode_spec(
        {
            "tenantId": "contoso.com",
            "clientId": "22222222-2222-4222-8222-222222222222",
            "mailbox": "noreply@contoso.com",
            "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
            **members,
        }
    )


def test_a_secret_is_a_directory_of_files(tmp_path: Path) -> None:
    (tmp_path / "noreply").mkdir()
    (tmp_path / "noreply" / "secret").write_bytes(b"not-a-secret\n")

    assert ObjectFiles(tmp_path).secret("noreply") == {"secret": b"not-a-secret\n"}
    assert ObjectFiles(tmp_path).secret("other") is None


def test_a_secret_that_kubelet_mounted_is_read_through_its_links(tmp_path: Path) -> None:
    version = tmp_path / "noreply" / "..2026_11_23"
    version.mkdir(parents=True)
    (version / "secret").write_bytes(b"not-a-secret")
    (tmp_path / "noreply" / "..data").symlink_to(version.name)
    (tmp_path / "noreply" / "secret").symlink_to("..data/secret")

    assert ObjectFiles(tmp_path).secret("noreply") == {"secret": b"not-a-secret"}


def test_something_far_too_large_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "noreply").mkdir()
    (tmp_path / "noreply" / "secret").write_bytes(b"x" * (2**20 + 1))

    with refused("SecretUnreadable", match="larger than 1 MiB"):
        ObjectFiles(tmp_path).secret("noreply")


@pytest.mark.parametrize(
    ("name", "key", "variable"),
    [
        ("noreply", "secret", "O365MAILER_SECRET_NOREPLY_SECRET"),
        ("noreply-app", "client-secret", "O365MAILER_SECRET_NOREPLY_APP_CLIENT_SECRET"),
        ("pair", "tls.crt", "O365MAILER_SECRET_PAIR_TLS_CRT"),
    ],
)
def test_a_variable_is_the_name_and_the_key_in_capitals(name: str, key: str, variable: str) -> None:
    assert variable_of(SECRET, name, key) == variable


def test_only_the_needed_variables_are_read() -> None:
    refs = [{"name": "a", "key": "x"}, {"name": "a", "key": "z"}]
    environment = {"O365MAILER_SECRET_A_X": "1", "O365MAILER_SECRET_A_Y": "2", "PATH": "/"}
    source = ObjectVariables(environment, spec(credential={"clientSecret": {"secretRefs": refs}}))

    assert source.secret("a") == {"x": b"1"}
    assert source.secret("b") is None
    missing = CredentialError(SECRET_NOT_FOUND, "", secret="b", key="x")
    assert source.place(missing) == "the environment variable O365MAILER_SECRET_B_X"


def test_a_config_map_is_read_from_the_same_directory_or_from_variables_of_its_own(tmp_path: Path) -> None:
    mailer = spec(authority={"ca": {"configMapRef": {"name": "company-ca", "key": "ca-bundle.crt"}}})
    missing = ConfigMapError(CONFIG_MAP_KEY_MISSING, "", config_map="company-ca", key="ca-bundle.crt")
    (tmp_path / "company-ca").mkdir()
    (tmp_path / "company-ca" / "ca-bundle.crt").write_bytes(b"PEM")
    variable = variable_of(CONFIG_MAP, "company-ca", "ca-bundle.crt")
    assert variable == "O365MAILER_CONFIGMAP_COMPANY_CA_CA_BUNDLE_CRT"

    files = source_of(mailer, directory=tmp_path, environment={})
    variables = source_of(mailer, directory=None, environment={variable: "PEM"})

    for source in (files, variables):
        assert source.config_map("company-ca") == {"ca-bundle.crt": b"PEM"}
        assert source.config_map("other") is None
    assert files.place(missing) == f"the file {tmp_path}/company-ca/ca-bundle.crt"
    assert variables.place(missing) == f"the environment variable {variable}"


def test_a_config_map_that_cannot_be_read_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "ca.crt").write_bytes(b"x" * (2**20 + 1))

    with refused("ConfigMapUnreadable", match="larger than 1 MiB"):
        ObjectFiles(tmp_path).config_map("ca")


@pytest.mark.promise("no-stored-secret")
def test_a_service_account_is_in_a_cluster_alone(tmp_path: Path) -> None:
    said = (
        "spec.credential.workloadIdentity names the ServiceAccount mailer, and only a Kubernetes API server gives "
        "tokens of a ServiceAccount. Apply the mailer in a cluster, or give it a clientSecret or a certificate here."
    )
    mailer = spec(credential={"workloadIdentity": {"serviceAccountRef": {"name": "mailer"}}})
    for source in (ObjectFiles(tmp_path), ObjectVariables({}, mailer)):
        with refused("ServiceAccountUnreadable") as caught:
            source.service_account("mailer")
        assert str(caught.value) == said
        assert source.place(caught.value) == ""
