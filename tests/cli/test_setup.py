"""`setup` prints scripts that their shells accept, with only what Microsoft documents, and that no value can change."""

import dataclasses
import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli.setup_reference import (
    BASH,
    POWERSHELL,
    az_problems,
    nodes,
    powershell_problems,
    sh_commands,
    shape,
    text_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from o365mailer_cli.main import main
from o365mailer_cli.setup import az, powershell
from o365mailer_cli.setup.plan import CLOUDS, Method, Plan, plan_for
from o365mailer_operator.exchange.objects import LONGEST_NAME, object_name
from o365mailer_operator.token.endpoints import CLOUDS as MAILER_CLOUDS
from o365mailer_operator.token.spec import decode_spec

CLIENT = "22222222-2222-2222-2222-222222222222"
SECRET = {"clientSecret": {"secretRefs": [{"name": "noreply-credential", "key": "client-secret"}]}}
CERTIFICATE = {"certificate": {"secretRef": {"name": "noreply-certificate"}}}
FEDERATED = {"workloadIdentity": {"serviceAccountRef": {"name": "noreply"}}}
CREDENTIALS = {"secret": SECRET, "certificate": CERTIFICATE, "federated": FEDERATED}
MAILBOX = "noreply@contoso.com"


def plan(method: Method = Method.RBAC, **spec: Any) -> Plan:
    """The plan of a mailer shop/noreply."""
    whole = {
        "tenantId": "contoso.onmicrosoft.com",
        "clientId": CLIENT,
        "mailbox": MAILBOX,
        "credential": SECRET,
        **spec,
    }
    return plan_for("noreply", "shop", decode_spec(whole), method)


PLANS = {
    f"{method} {cloud} {kind}": plan(
        method, cloud=cloud, credential=CREDENTIALS[kind], senders={"allowed": [MAILBOX, "alerts@contoso.com"]}
    )
    for method, cloud, kind in itertools.product(Method, CLOUDS, CREDENTIALS)
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.promise("setup-scripts-are-safe")
def test_the_powershell_scripts_use_only_what_microsoft_documents(name: str) -> None:
    assert powershell_problems(powershell.script(PLANS[name])) == []
    assert powershell_problems(powershell.undo_script(PLANS[name])) == []


@pytest.mark.parametrize("name", PLANS)
def test_the_az_scripts_use_only_what_microsoft_documents(name: str) -> None:
    for script in (az.script(PLANS[name]), az.undo_script(PLANS[name])):
        checked = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)

        assert checked.stderr == ""
        assert az_problems(script) == []
        assert powershell_problems(script.split(f"'{az.END}'\n")[1].split(f"{az.END}\n")[0]) == []


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("Get-ManagmentScope -Identity $Name", "Get-ManagmentScope: no such cmdlet"),
        ("New-ManagementScope -Name $Name -Filter $F", "New-ManagementScope: no parameter Filter"),
        ("Set-CASMailbox -Identity $M -SmtpClientAuthenticationDisabled", "Set-CASMailbox -SmtpClient"),
        ("Connect-ExchangeOnline -ExchangeEnvironmentName O365Global", "Connect-ExchangeOnline -ExchangeEnv"),
        ("New-ServicePrincipal $AppId", "New-ServicePrincipal: 1 arguments without a name"),
        ("if ($null -eq $X { Get-Date }", "syntax: "),
    ],
)
def test_a_mistake_in_a_powershell_script_is_noticed(script: str, problem: str) -> None:
    assert powershell_problems(script)[0].startswith(problem)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("az ad app rename --id x", "az ad app rename: no such command"),
        ("az ad app delete --name x", "az ad app delete: no flag --name"),
        ("az ad sp show --id --output tsv", "az ad sp show --id: a value is missing"),
        ("azz login", "azz: no such program"),
        ("if true; then", "syntax: "),
    ],
)
def test_a_mistake_in_an_az_script_is_noticed(script: str, problem: str) -> None:
    assert az_problems(script)[0].startswith(problem)


CHARACTERS = "'\"`$(){}[]|&;#%\\!~^*?=+,:/ab1\u2018\u2019\u201a\u201b\u201c\u201d\u00e4"
LOCAL_PARTS = st.text(CHARACTERS, min_size=1, max_size=40)


def verbatim(literal: str) -> str:
    """The value of a verbatim string as PowerShell reads it: every single quote is doubled, typographic ones too."""
    assert literal[0] == literal[-1] == "'"
    quotes = "'\u2018\u2019\u201a\u201b"
    value, rest = "", literal[1:-1]
    while rest:
        if rest[0] in quotes:
            assert len(rest) > 1, "the string ends too early"
            assert rest[1] in quotes, "the string ends too early"
        value += rest[0]
        rest = rest[2:] if rest[0] in quotes else rest[1:]
    return value


@given(LOCAL_PARTS)
@settings(max_examples=100)
@pytest.mark.promise("setup-scripts-are-safe")
def test_no_mailbox_becomes_code(local: str) -> None:
    hostile = plan(mailbox=f"{local}@contoso.com")
    for write in (powershell.script, powershell.undo_script):
        script = write(hostile)
        literals = {
            text_of(node).split(" = ", 1)[1]
            for node in nodes(POWERSHELL.parse(script.encode()).root_node)
            if node.type == "assignment_expression" and text_of(node).startswith("$Mailbox = ")
        }

        assert shape(POWERSHELL, script) == shape(POWERSHELL, write(plan()))
        assert {verbatim(one) for one in literals} == {hostile.mailbox}
    for write in (az.script, az.undo_script):
        assert shape(BASH, write(hostile)) == shape(BASH, write(plan()))


def test_the_filter_is_quoted_twice() -> None:
    """Once for Exchange's filter language, once for PowerShell."""
    script = powershell.script(plan(mailbox="o'brien@contoso.com"))

    assert "$Filter = 'PrimarySmtpAddress -eq ''o''''brien@contoso.com'''" in script


def test_a_character_that_cannot_be_seen_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mailer = tmp_path / "mailer.yaml"
    mailer.write_text(document(mailbox="no\u202ereply@contoso.com"), encoding="utf-8")

    assert main(["setup", "-f", str(mailer)], {}) == 2
    assert capsys.readouterr().err == (
        "o365mailer: spec.mailbox of shop/noreply: has the character U+202E, which cannot be seen. Type it again.\n"
    )


def document(mailbox: str = MAILBOX, namespace: str = "shop") -> str:
    """An O365Mailer as a file."""
    return (
        "apiVersion: o365mailer.dev/v1alpha1\nkind: O365Mailer\n"
        f'metadata: {{name: noreply, namespace: "{namespace}"}}\n'
        f"spec:\n  tenantId: contoso.onmicrosoft.com\n  clientId: {CLIENT}\n  mailbox: {mailbox}\n"
        "  suspend: true\n"
        "  credential: {clientSecret: {secretRefs: [{name: noreply-credential, key: client-secret}]}}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name either a mailer of the cluster or, with -f, a file: o365mailer setup -f mailer.yaml."),
        (["-f", "FILE", "noreply"], "name either a mailer of the cluster or, with -f, a file:"),
        (["-f", "/no/such"], "/no/such: there is no such file."),
        (["noreply", "--kubeconfig", "/no/such"], "There is no kubeconfig: /no/such does not exist."),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", *arguments], {}) == 2
    assert capsys.readouterr().err.startswith(f"o365mailer: {message}")


def test_a_namespace_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mailer = tmp_path / "mailer.yaml"
    mailer.write_text(document(namespace="a' or 'b"), encoding="utf-8")

    assert main(["setup", "-f", str(mailer)], {}) == 2
    assert "metadata.namespace: \"a' or 'b\" is not the name of a namespace." in capsys.readouterr().err


def test_a_suspended_mailer_can_be_set_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mailer = tmp_path / "mailer.yaml"
    mailer.write_text(document(), encoding="utf-8")

    assert main(["setup", "-f", str(mailer)], {}) == 0
    assert "$Mailbox = 'noreply@contoso.com'" in capsys.readouterr().out


STUB = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> "$TRACE"
case "$*" in
*"ad sp create"*) echo enterprise-object-id ;;
*"ad app create"*) echo new-application-id ;;
*"credential reset"*) echo value-of-the-secret ;;
*"exchange.ps1"*) cp "${4:-/dev/null}" "$TRACE.ps1"; printf '%s %s\\n' "$APP_ID" "$ENTERPRISE_ID" >> "$TRACE" ;;
esac
"""


def with_programs(folder: Path, stub: str) -> dict[str, str]:
    """An environment in which az and pwsh are the stub."""
    for program in ("az", "pwsh"):
        (folder / program).write_text(stub)
        (folder / program).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "TRACE": str(folder / "trace")}


def test_the_az_script_runs(tmp_path: Path) -> None:
    """With programs in place of az and pwsh that only note how they are called, in a tenant that has nothing yet."""
    environment, trace = with_programs(tmp_path, STUB), tmp_path / "trace"

    ran = subprocess.run(
        ["sh", "-s"], input=az.script(plan()), cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert ran.returncode == 0, ran.stderr
    assert "The application's client id is new-application-id." in ran.stdout
    assert (tmp_path / "client-secret").read_text() == "value-of-the-secret"
    assert (tmp_path / "client-secret").stat().st_mode & 0o077 == 0
    assert trace.read_text().endswith("new-application-id enterprise-object-id\n")
    assert "value-of-the-secret" not in ran.stdout + ran.stderr
    assert "az ad app create --display-name o365mailer-shop-noreply" in trace.read_text()
    assert Path(f"{trace}.ps1").read_text().splitlines()[3] == "$Mailbox = 'noreply@contoso.com'"


@pytest.mark.parametrize(("key", "added"), [("", True), ("key-of-before", False)])
def test_a_second_run_of_the_az_script_adds_no_second_certificate(key: str, added: bool, tmp_path: Path) -> None:
    """az itself does not look whether the application has the certificate already (Azure/azure-cli#32933)."""
    stub = STUB.replace("esac", f'*"credential list"*--cert*) echo {key} ;;\nesac')
    environment = with_programs(tmp_path, stub)

    ran = subprocess.run(
        ["sh", "-s"],
        input=az.script(plan(credential=CERTIFICATE)),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
    assert ("--cert @tls.crt" in (tmp_path / "trace").read_text()) is added


@pytest.mark.parametrize("found", ["", "name-of-before"])
def test_the_az_script_adds_or_corrects_a_federated_credential(found: str, tmp_path: Path) -> None:
    stub = STUB.replace("esac", f'*"federated-credential list"*"issuer=="*) echo {found} ;;\nesac')
    environment, trace = with_programs(tmp_path, stub), tmp_path / "trace"
    script = az.script(plan(credential=FEDERATED, cloud="China"))

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        environ = environment | more
        return subprocess.run(["sh", "-s"], input=script, cwd=tmp_path, env=environ, capture_output=True, text=True)

    refused = run()
    assert refused.returncode != 0
    assert "kubectl get --raw /.well-known/openid-configuration" in refused.stderr
    ran = run(ISSUER="https://oidc.example/cluster/")
    assert ran.returncode == 0, ran.stderr
    written = next(line for line in trace.read_text().splitlines() if "--parameters" in line)
    assert (f"update --id new-application-id --federated-credential-id {found}" in written) == bool(found)
    assert json.loads(written.partition("--parameters ")[2].removesuffix(" --output none")) == {
        "name": found or "shop-noreply",
        "issuer": "https://oidc.example/cluster/",
        "subject": "system:serviceaccount:shop:noreply",
        "audiences": ["api://AzureADTokenExchangeChina"],
    }
    annotate = "kubectl -n shop annotate --overwrite serviceaccount noreply o365mailer.dev/workload-identity="
    assert f"{annotate}new-application-id\n" in ran.stdout, "of the application that it has just registered"


def test_the_setup_of_one_cluster_leaves_the_federated_credential_of_another_alone(tmp_path: Path) -> None:
    """Both clusters may have a namespace and a ServiceAccount of these names."""
    stub = STUB.replace("esac", '*"issuer=="*) ;;\n*"federated-credential list"*) echo id-of-another ;;\nesac')
    environment = with_programs(tmp_path, stub) | {"ISSUER": "https://oidc.example/second/"}
    script = az.script(plan(credential=FEDERATED))
    ran = subprocess.run(["sh", "-s"], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "perhaps of another cluster" in ran.stderr
    assert "federated-credential update" not in (tmp_path / "trace").read_text()
    assert "federated-credential create" not in (tmp_path / "trace").read_text()
    in_powershell = powershell.script(plan(credential=FEDERATED))
    assert "} elseif ($All | Where-Object { $_.Name -eq 'shop-noreply' }) {" in in_powershell


def test_the_undo_in_one_cluster_leaves_the_federated_credential_of_another_alone(tmp_path: Path) -> None:
    issuer, subject = "https://oidc.example/second/", "system:serviceaccount:shop:noreply"
    here = dataclasses.replace(plan(credential=FEDERATED), issuer=issuer)
    assert f"$_.Issuer -ceq '{issuer}' -and $_.Subject -ceq '{subject}'" in powershell.undo_script(here)
    mine = f"[?issuer=='{issuer}' && subject=='{subject}'].id"
    answers = f'*"{mine}"*) echo id-of-mine ;;\n*"federated-credential list"*) echo id-of-another ;;'
    stub = STUB.replace("esac", f'*"ad app list"*) echo application-id ;;\n{answers}\nesac')
    environment, script = with_programs(tmp_path, stub), az.undo_script(here)
    ran = subprocess.run(["sh", "-s"], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "--federated-credential-id id-of-mine\n" in (tmp_path / "trace").read_text()


def test_a_federated_credential_needs_to_know_the_namespace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"tenantId": "contoso.com", "clientId": CLIENT, "mailbox": MAILBOX, "credential": FEDERATED}
    file = tmp_path / "mailer.yaml"
    document = {"apiVersion": "o365mailer.dev/v1alpha1", "kind": "O365Mailer", "metadata": {"name": "noreply"}}
    file.write_text(json.dumps({**document, "spec": spec}))

    assert main(["setup", "-f", str(file)]) != 0
    assert "part of the subject that Entra trusts. Add it, or give -n NAMESPACE." in capsys.readouterr().err
    assert main(["setup", "-f", str(file), "-n", "shop"]) == 0
    assert "$Subject = 'system:serviceaccount:shop:noreply'" in capsys.readouterr().out


def test_the_undo_removes_the_credential_that_the_setup_made_and_no_other() -> None:
    for credential, cert in ((SECRET, ()), (CERTIFICATE, ("--cert",))):
        commands = sh_commands(az.undo_script(plan(credential=credential)))
        (deleted,) = [one for one in commands if "ad app credential delete" in " ".join((one.name, *one.arguments))]

        assert deleted.arguments[-2 - len(cert) :] == ("--key-id", '"$key"', *cert)
        assert "[?displayName=='$name'].keyId" in az.undo_script(plan(credential=credential))


def test_an_object_id_of_before_that_is_wrong_ends_the_script() -> None:
    for script in (powershell.script(plan()), az.script(plan())):
        assert "} elseif ($Known.ObjectId -ne $EnterpriseId) {" in script


def test_every_cloud_of_a_mailer_has_its_names() -> None:
    assert set(CLOUDS) == set(MAILER_CLOUDS)
    for cloud, names in CLOUDS.items():
        script = powershell.script(plan(cloud=cloud))
        assert f"-Environment {names.graph} " in script
        assert f"-ExchangeEnvironmentName {names.exchange} " in script


def test_rights_are_least_unless_the_classic_way_is_asked_for() -> None:
    rbac, classic = powershell.script(plan()), powershell.script(plan(Method.CLASSIC))

    assert "FullAccess" not in rbac
    assert "AppRoleAssignment.ReadWrite.All" not in rbac
    assert "-ObjectId $EnterpriseId" in rbac
    assert "FullAccess" in classic
    assert "az ad app permission" not in " ".join(map(str, sh_commands(az.script(plan()))))


@pytest.mark.parametrize("namespace", ["shop", "n" * 63])
def test_names_fit_into_exchange_and_differ(namespace: str) -> None:
    names = {object_name(name, namespace) for name in ("a" * 40, "a" * 39 + "b", "noreply")}

    assert len(names) == 3
    assert all(len(name) <= LONGEST_NAME for name in names)
