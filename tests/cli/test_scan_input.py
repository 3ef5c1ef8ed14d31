"""`scan` on bad and hostile input: an error is one line, and no file can stop, slow down or crash a scan."""

import base64
import gzip
import io
import subprocess
import time
from pathlib import Path

import pytest
from cli.scan_cases import CORPUS, findings, scan
from hypothesis import given, settings
from hypothesis import strategies as st

from o365mailer_cli.main import main
from o365mailer_cli.scan.files import read_files
from o365mailer_cli.scan.login import MOST_LOGINS, logins
from o365mailer_cli.scan.setting import Place, Source
from o365mailer_cli.scan.text import settings_in

MOVED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {spec: {containers: [{name: web, env: [
  {name: SMTP_HOST, value: smtp.office365.com}, {name: SMTP_PASSWORD, value: example-password}]}]}}}
"""
FILE = Place(Source.FILE, object="ConfigMap/app", file="app.conf")


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and standard error."""
    status = main(["scan", *arguments], {})
    return status, capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["-f", "/no/such/manifest.yaml"], capsys) == (
        2,
        (
            "o365mailer: /no/such/manifest.yaml: there is no such file or folder. "
            "Name a manifest, Helm values or a folder with -f.\n"
        ),
    )


def test_files_and_a_cluster_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["-f", str(tmp_path), "-A"], capsys) == (
        2,
        "o365mailer: --all-namespaces: -f scans files, not a cluster. Leave one of them out.\n",
    )


def test_no_kubeconfig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = told(["--kubeconfig", str(tmp_path / "none")], capsys)

    assert status == 2
    assert text.startswith("o365mailer: There is no kubeconfig:")
    assert text.count("\n") == 1


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(MOVED.encode())))

    assert [one["subject"] for one in findings("-f", "-")] == ["shop/deployment/web (web)"]


def test_a_folder_is_read_whole_and_the_rest_of_a_broken_file_too(tmp_path: Path) -> None:
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart" / "app.yaml").write_text(MOVED)
    (tmp_path / "broken.yaml").write_text(
        "kind: [\n---" + MOVED.replace("name: web, namespace", "name: other, namespace")
    )
    (tmp_path / "latin.yaml").write_bytes(
        "# caf\xe9\nsmtp_host: smtp.office365.com\nsmtp_password: x\n".encode("latin-1")
    )
    (tmp_path / "picture.png").write_text("smtp_host: smtp.office365.com")
    (tmp_path / "loop").symlink_to(tmp_path)

    found = {one["subject"].removeprefix(f"{tmp_path}/") for one in findings("-f", str(tmp_path))}

    assert found == {"shop/deployment/web (web)", "shop/deployment/other (web)", "latin.yaml"}


def test_a_secret_in_a_file_is_read_only_with_the_flag() -> None:
    case = str(CORPUS / "superset.yaml")

    assert [one["status"] for one in findings("-f", case)] == ["unknown"]
    assert [one["status"] for one in findings("-f", case, "--read-secrets")] == ["failed"]


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    assert scan("-f", str(tmp_path)) == (0, "Scanned 0 workloads: 0 logins to Office 365 with a password.\n")


def test_a_template_with_expressions_is_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(
        "kind: Deployment\napiVersion: apps/v1\nspec:\n{{- if .Values.mail }}\n  mail:\n"
        "    smtpHost: smtp.office365.com\n"
        "    smtpPassword: {{ .Values.password }}\n{{- end }}\n"
    )

    (found,) = findings("-f", str(tmp_path))

    assert found["place"]["line"] == 6
    assert found["confidence"] == "certain"


HOSTILE = {
    "deep brackets": "kind: x\nvalue: " + "[" * 500_000,
    "deep braces": "kind: x\nvalue: " + "{a: " * 200_000,
    "deep blocks": "kind: x\n" + "".join(f"{' ' * depth}a:\n" for depth in range(1500)),
    "anchors that contain themselves": "kind: x\napiVersion: v1\nvalue: &a [*a, *a]\nitems: &b {b: *b}\n",
    "anchors that multiply": "kind: List\napiVersion: v1\na: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{one}: &{one} [{','.join([f'*{before}'] * 9)}]\n" for before, one in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "one line": 'smtp_host="' + "a" * 3_000_000,
    "one line of hosts": "smtp.office365.com:587," * 100_000,
    "many hosts": "smtp_host: smtp.office365.com\nsmtp_password: x\n" * 10_000,
    "one host again and again": "smtp_host=smtp.office365.com " * 30_000,
    "many servers": " ".join(f"smtp_host=a{number}.example.com" for number in range(30_000)),
    "many names": "mail_" * 400_000 + "=smtp.office365.com",
    "many quotes": "smtp \"' " * 300_000,
    "many labels": "smtp." * 500_000,
    "many dashes": "--smtp-" * 300_000,
    "items": "smtp\n" + "- " * 500_000,
    "separators": "---\nkind: x\n" * 50_000,
    "control characters": "smtp_host: smtp.office365.com\x1b[2J\x07\r\n" * 1000,
    "kinds": "{apiVersion: v1, kind: Pod, spec: {containers: {a: b}, volumes: [1, {configMap: 3}]}, metadata: []}",
    "containers": "{apiVersion: v1, kind: Pod, metadata: {name: [x]}, spec: {containers: [1, {env: [{name: {}}]}]}}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_ends_soon(name: str, tmp_path: Path) -> None:
    (tmp_path / "hostile.yaml").write_text(HOSTILE[name])
    began = time.process_time()

    status, text = scan("-f", str(tmp_path))

    assert status in {0, 1}
    assert "\x1b" not in text
    assert time.process_time() - began < 15, "a limit is missing"


def test_of_thousands_of_hosts_the_first_are_told() -> None:
    text = "smtp_host: smtp.office365.com\nsmtp_password: x\n" * 1000

    assert len(logins(list(settings_in(text, FILE)))) == MOST_LOGINS


def test_binary_data_is_not_read() -> None:
    assert list(settings_in("\0\0smtp_host: smtp.office365.com", FILE)) == []


@given(st.text(max_size=400) | st.text("smtp.office365:=\"'{}[]<>-#\n \t/*ab@", max_size=400))
@settings(max_examples=100)
def test_no_text_is_an_error(text: str) -> None:
    logins(list(settings_in(text, FILE)))


@given(st.binary(max_size=300) | st.text("kindapVersol: {}[]&*-\n'\"#|>", max_size=300).map(str.encode))
@settings(max_examples=100)
def test_no_file_is_an_error(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_bytes(b"kind: x\n" + content)
        read_files([str(path)], secrets=True)


EVIL = ("x; touch pwned", "$(touch pwned)", "`touch pwned`", "x\\n touch pwned\\n", "'; touch pwned;'")
"""Names as a manifest may write them in double quotes."""


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("kind", ["Deployment", "Rollout", "CronJob", "ConfigMap"])
def test_no_name_becomes_code_in_the_printed_lines(kind: str, evil: str, tmp_path: Path) -> None:
    """Users paste the lines into a shell. A file may name things as the API server never would."""
    container = f'{{name: "{evil}", env: [{{name: "SMTP_HOST", value: smtp.office365.com}}, '
    container += f'{{name: "SMTP_PASSWORD {evil}", value: x}}]}}'
    template = f"{{spec: {{containers: [{container}]}}}}"
    spec = f"jobTemplate: {{spec: {{template: {template}}}}}" if kind == "CronJob" else f"template: {template}"
    data = f'{{"{evil}": "smtp_host = smtp.office365.com"}}'
    named = f'{{name: "{evil}", namespace: "{evil}"}}'
    (tmp_path / "evil.yaml").write_text(
        f"apiVersion: v1\nkind: {kind}\nmetadata: {named}\nspec: {{{spec}}}\ndata: {data}\n"
        f"---\napiVersion: o365mailer.dev/v1alpha1\nkind: O365Mailer\nmetadata: {named}\n"
    )
    (found,) = [one for one in findings("-f", str(tmp_path)) if one["status"] != "unknown"]
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "kubectl").chmod(0o755)

    assert found["lines"]
    for line in found["lines"]:
        assert "\n" not in line
        subprocess.run(["sh", "-c", line], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True)
    assert not (tmp_path / "pwned").exists()


def secret_with(key: str, content: bytes) -> str:
    """A pod that mounts a Secret, and the Secret as the API server has it."""
    return (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nspec: {containers: [{name: a,"
        " volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, secret: {secretName: s}}]}\n---\n"
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: b}}\n"
        f"data: {{{key}: {base64.b64encode(content).decode()}}}\n"
    )


def test_the_packed_configuration_of_the_prometheus_operator_is_unpacked(tmp_path: Path) -> None:
    text = b"global:\n  smtp_smarthost: smtp.office365.com:587\n  smtp_auth_password: example-password\n"
    (tmp_path / "a.yaml").write_text(secret_with("alertmanager.yaml.gz", gzip.compress(text)))

    (found,) = findings("-f", str(tmp_path), "--read-secrets")

    assert found["place"] == {
        "source": "file",
        "name": "smtp_smarthost",
        "object": "Secret/s",
        "file": "alertmanager.yaml.gz",
        "line": 2,
    }


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"smtp " * 20_000_000), b"\x1f\x8b broken", b"\0\1\2smtp.office365.com", b"\xff\xfesmtp"],
    ids=["a bomb", "broken", "binary", "no UTF-8"],
)
def test_a_secret_that_is_no_text_is_passed_over(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(secret_with("smtp.gz", content))
    began = time.process_time()

    assert scan("-f", str(tmp_path), "--read-secrets")[0] == 0
    assert time.process_time() - began < 15, "a limit is missing"
